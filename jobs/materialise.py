"""`edupulse materialise`: features of the student-weeks that imports touched, computed and stored."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.weeks import day_from_number, last_closed_week
from jobs.progress import progress_bars

if TYPE_CHECKING:
    from edupulse_ml.storage.features import PendingStudent
    from jobs.wiring import JobContext

CHUNK_STUDENTS: Final = 2000
"""Students read and computed at once: enough to amortise the queries, few enough for a few hundred megabytes."""

_LISTED_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class MaterialiseSummary:
    """What was done: students computed, stored student-weeks that changed, and the last week (its Monday's day
    number).
    """

    students: int
    student_weeks_written: int
    through_week: int


def materialise(
    *,
    every: Annotated[
        bool, typer.Option("--all", help="All students, not only those whose stored weeks are not current.")
    ] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Moment (UTC) up to which records count; default: now."
        ),
    ] = None,
) -> None:
    """Compute the weekly features that imports touched or that a new week asks for, and store them.

    Twice in a row changes nothing the second time; a second run at the same time waits for the first.
    """
    clock, console = SystemClock(), Console()
    moment = clock.now() if as_of is None else as_of.replace(tzinfo=UTC)
    summary = asyncio.run(
        materialise_district(load_settings(), as_of=moment, every=every, clock=clock, console=console)
    )
    sunday = day_from_number(summary.through_week + 6)
    console.print(
        f"{summary.students:,} students computed, {summary.student_weeks_written:,} student-weeks written, "
        f"up to the week that closed on {sunday}.",
        soft_wrap=True,
    )


async def materialise_district(
    settings: Settings, *, as_of: datetime, clock: Clock, console: Console, every: bool = False
) -> MaterialiseSummary:
    """Materialise the district of `settings` up to the last week closed at `as_of`.

    Raises:
        InvalidInputError: `as_of` lies in the future.
        NotFoundError: the district does not exist yet.
        DependencyDownError: a server does not answer; chunks finished before stay finished.
    """
    from jobs.wiring import open_context

    if as_of > clock.now():
        msg = f"{as_of.isoformat()} lies in the future; features know only what has been recorded."
        raise InvalidInputError(msg)
    async with open_context(settings, clock=clock) as context:
        return await materialise_pending(context, as_of=as_of, console=console, every=every)


async def materialise_pending(
    context: "JobContext", *, as_of: datetime, console: Console, every: bool = False
) -> MaterialiseSummary:
    """Compute and store what is not current; with `every`, all students. Otherwise as `materialise_district`."""
    async with AsyncExitStack() as alone:
        with console.status("waiting until no other run writes features of the district"):
            await alone.enter_async_context(context.features.exclusive_refresh())
        return await _materialise(context, as_of=as_of, console=console, every=every)


async def _materialise(context: "JobContext", *, as_of: datetime, console: Console, every: bool) -> MaterialiseSummary:
    district = await context.reader.district()
    through_week = last_closed_week(as_of, ZoneInfo(district.timezone))
    await context.features.carry_forward(contract=context.contract, through_week=through_week)
    pending = await _list_pending(context, through_week=through_week)
    keys = await context.reader.all_student_keys() if every else sorted(pending)
    written = 0
    with progress_bars(console) as bars:
        bar = bars.add_task(f"features of {len(keys):,} students", total=len(keys), visible=bool(keys))
        for start in range(0, len(keys), CHUNK_STUDENTS):
            chunk = keys[start : start + CHUNK_STUDENTS]
            written += await _refresh(context, chunk, pending, as_of=as_of, through_week=through_week)
            bars.advance(bar, len(chunk))
    return MaterialiseSummary(len(keys), written, through_week)


async def _list_pending(context: "JobContext", *, through_week: int) -> "dict[StudentKey, PendingStudent]":
    """Students whose stored weeks are not current. Listed before anything is read, so that an import in between
    leaves them pending.
    """
    found: dict[StudentKey, PendingStudent] = {}
    after: StudentKey | None = None
    while True:
        page = await context.features.pending_refresh(
            contract=context.contract, through_week=through_week, limit=_LISTED_AT_ONCE, after=after
        )
        found.update((student.student_key, student) for student in page)
        if len(page) < _LISTED_AT_ONCE:
            return found
        after = page[-1].student_key


async def _refresh(
    context: "JobContext",
    keys: Sequence[StudentKey],
    pending: "Mapping[StudentKey, PendingStudent]",
    *,
    as_of: datetime,
    through_week: int,
) -> int:
    """Compute and store one chunk; returns the student-weeks that changed. Marked as current last, so that a run
    that is interrupted does the chunk again.
    """
    from features.compute import compute_features
    from features.options import FeatureOptions

    options = FeatureOptions(objective_discipline_only=context.contract.objective_discipline_only)
    records = await context.reader.records_of(keys, as_of=as_of)
    block = await asyncio.to_thread(compute_features, records, through_week=through_week, options=options)
    written = await context.features.write_block(keys, block, context.contract, through_week=through_week)
    await context.cache.drop(await context.reader.student_ids(keys))
    done = [pending[key] for key in keys if key in pending]
    await context.features.mark_refreshed(done, contract=context.contract, through_week=through_week)
    return written


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["materialise", *sys.argv[1:]])
