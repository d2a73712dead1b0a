"""Feature windows of a district's enrolled students as a folder of Parquet files."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edupulse_ml.storage.scoring_runs import Chunk, ScoringRunStore
from jobs.bulk.folders import ChunkFolder, value_to_continue_with
from jobs.bulk.running import Place, do_chunks
from jobs.bulk.store_windows import AsOf, read_enrolled
from jobs.bulk.stores import BulkStores, StoreAddress, address_of, open_stores
from jobs.bulk.window_files import STUDENTS_PER_FILE, WindowsDescription, count_windows, write_windows
from jobs.bulk.work import ChunkDone
from jobs.progress import progress_bars

if TYPE_CHECKING:
    from jobs.wiring import JobContext


@dataclass(frozen=True)
class ExportPlan:
    """How to write the windows of chunks of students to `folder`."""

    stores: StoreAddress
    as_of: AsOf
    folder: Path

    @property
    def student_us(self) -> float:
        """Most of it is PostgreSQL's."""
        return 40.0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["_Exporter", None]:
        """A worker with connections of its own."""
        async with open_stores(self.stores) as stores:
            yield _Exporter(self, stores)


class _Exporter:
    def __init__(self, plan: ExportPlan, stores: BulkStores) -> None:
        self._plan = plan
        self._stores = stores

    async def do(self, chunk: Chunk) -> ChunkDone:
        keys, batch = await read_enrolled(self._stores, chunk, self._plan.as_of)
        student_ids = await self._stores.reader.student_ids(keys)
        path = self._plan.folder / f"{chunk.name}.parquet"
        await asyncio.to_thread(write_windows, path, student_ids, batch)
        return ChunkDone(chunk.students, {"written": len(keys)})


async def export_windows(
    context: "JobContext", folder: Path, *, as_of: datetime, again: bool, place: Place, console: Console
) -> int:
    """Write one window per student enrolled at `as_of`, which must be up to date in the store; the number of students.
    An unfinished folder of the same week is completed, as of the moment it was begun for.

    Raises:
        ConflictError: the folder holds something else.
    """
    runs = ScoringRunStore(context.database)
    moment = AsOf(as_of, (await context.reader.district()).timezone)
    described = WindowsDescription(
        district=context.district_id,
        timezone=moment.zone_name,
        contract_fingerprint=context.contract.fingerprint,
        window_weeks=context.contract.window_weeks,
        through_week=moment.through_week,
        as_of=as_of,
    )
    identity = {**described.identity(), "last_import": await runs.last_import()}
    earlier = None if again else value_to_continue_with(folder, identity, field="as_of")
    if earlier is not None:
        identity["as_of"], moment = earlier, replace(moment, moment=datetime.fromisoformat(earlier))
    target = ChunkFolder(folder, identity)
    with target.exclusive():
        totals = target.begin(again=again)
        if totals is None:
            chunks = await runs.plan(students_per_chunk=STUDENTS_PER_FILE)
            missing = target.missing([chunk.name for chunk in chunks])
            todo = [chunk for chunk in chunks if chunk.name in missing]
            with progress_bars(console) as bars:
                bar = bars.add_task("writing windows", total=sum(chunk.students for chunk in todo))
                await do_chunks(
                    ExportPlan(address_of(context), moment, folder),
                    todo,
                    place=place,
                    settings=context.settings,
                    on_done=lambda done: bars.advance(bar, done.students),
                )
            totals = {"students": count_windows(folder)}
            target.finish(totals)
    return totals["students"]
