"""The worker that computes and stores the weekly features of chunks of students."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from edupulse_ml.core.ids import StudentKey
from edupulse_ml.storage.features import PendingStudent
from jobs.bulk.stores import BulkStores, StoreAddress, open_stores
from jobs.bulk.work import ChunkDone

if TYPE_CHECKING:
    from jobs.wiring import JobContext

STUDENT_US: Final = 1_500.0
"""What a student with two years of records takes, in microseconds of one core; most of it is PostgreSQL's."""

WEEKS_WRITTEN: Final = "weeks_written"
"""What a chunk counts: stored student-weeks that changed."""


@dataclass(frozen=True)
class RefreshChunk:
    """Students to compute, and those of them that were listed as not current."""

    keys: Sequence[StudentKey]
    pending: Sequence[PendingStudent]

    @property
    def students(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class RefreshPlan:
    """How to compute chunks up to `through_week` from what was recorded at `as_of`."""

    stores: StoreAddress
    as_of: datetime
    through_week: int

    @property
    def student_us(self) -> float:
        return STUDENT_US

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["Refresher", None]:
        """A worker with connections of its own."""
        async with open_stores(self.stores) as stores:
            yield Refresher(stores, as_of=self.as_of, through_week=self.through_week)


class Refresher:
    """`ChunkWorker` over open stores."""

    def __init__(self, stores: "BulkStores | JobContext", *, as_of: datetime, through_week: int) -> None:
        self._stores = stores
        self._as_of = as_of
        self._through_week = through_week

    async def do(self, chunk: RefreshChunk) -> ChunkDone:
        """Compute and store one chunk. Marked as current last, so that a run that is interrupted does it again."""
        from features.compute import compute_features
        from features.options import FeatureOptions

        stores, keys = self._stores, chunk.keys
        contract, through_week = stores.contract, self._through_week
        options = FeatureOptions(objective_discipline_only=contract.objective_discipline_only)
        records = await stores.reader.records_of(keys, as_of=self._as_of)
        block = await asyncio.to_thread(compute_features, records, through_week=through_week, options=options)
        written = await stores.features.write_block(keys, block, contract, through_week=through_week)
        await stores.cache.drop(await stores.reader.student_ids(keys))
        await stores.features.mark_refreshed(chunk.pending, contract=contract, through_week=through_week)
        return ChunkDone(chunk.students, {WEEKS_WRITTEN: written})
