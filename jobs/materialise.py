"""`edupulse materialise`: features of the student-weeks that imports touched, computed and stored."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.weeks import day_from_number, last_closed_week
from jobs.bulk.refreshing import STUDENT_US, WEEKS_WRITTEN, RefreshChunk, Refresher, RefreshPlan
from jobs.bulk.running import Place, do_chunks, do_here, is_for_ray
from jobs.bulk.stores import address_of
from jobs.bulk.window_export import export_windows
from jobs.bulk.work import ChunkDone
from jobs.progress import progress_bars

if TYPE_CHECKING:
    from edupulse_ml.storage.features import PendingStudent
    from jobs.wiring import JobContext

CHUNK_STUDENTS: Final = 2000
"""Students read and computed at once: enough to amortise the queries, few enough for a few hundred megabytes."""

_AT_ONCE: Final = 2
"""Chunks under way in this process: while one is computed, PostgreSQL works for the other."""

_LISTED_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class MaterialiseSummary:
    """What was done: students computed, stored student-weeks that changed, the last week (its Monday's day number),
    and the students whose windows the folder holds (0 without one).
    """

    students: int
    student_weeks_written: int
    through_week: int
    students_exported: int = 0


@dataclass(frozen=True)
class MaterialiseRequest:
    """All students (`every`) or those whose weeks are not current; `target` is a folder for the windows of all enrolled
    students, whose content `again` replaces.
    """

    every: bool = False
    target: Path | None = None
    again: bool = False
    place: Place = "auto"


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
    target: Annotated[
        Path | None,
        typer.Option("--to", help="Also write the window of every enrolled student to this folder, as Parquet."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace what the folder holds.")] = False,
    place: Annotated[
        Place, typer.Option("--on", help="In this process (`here`), on Ray, or whichever is quicker (`auto`).")
    ] = "auto",
) -> None:
    """Compute the weekly features that imports touched or that a new week asks for, and store them.

    Twice in a row changes nothing the second time; a second run at the same time waits for the first.
    """
    clock, console = SystemClock(), Console()
    moment = clock.now() if as_of is None else as_of.replace(tzinfo=UTC)
    request = MaterialiseRequest(every=every, target=target, again=again, place=place)
    summary = asyncio.run(
        materialise_district(load_settings(), as_of=moment, clock=clock, console=console, request=request)
    )
    sunday = day_from_number(summary.through_week + 6)
    console.print(
        f"{summary.students:,} students computed, {summary.student_weeks_written:,} student-weeks written, "
        f"up to the week that closed on {sunday}.",
        soft_wrap=True,
    )
    if target is not None:
        console.print(f"{target} holds the windows of {summary.students_exported:,} enrolled students.")


async def materialise_district(
    settings: Settings,
    *,
    as_of: datetime,
    clock: Clock,
    console: Console,
    request: "MaterialiseRequest | None" = None,
) -> MaterialiseSummary:
    """Materialise the district of `settings` up to the last week closed at `as_of`; without a request, what is not
    current, and nothing is exported.

    Raises:
        ConflictError: the folder to export to holds something else.
        InvalidInputError: `as_of` lies in the future.
        NotFoundError: the district does not exist yet.
        DependencyDownError: a server does not answer; chunks finished before stay finished.
    """
    from jobs.wiring import open_context

    if as_of > clock.now():
        msg = f"{as_of.isoformat()} lies in the future; features know only what has been recorded."
        raise InvalidInputError(msg)
    request = request or MaterialiseRequest()
    async with open_context(settings, clock=clock) as context:
        summary = await materialise_pending(
            context, as_of=as_of, console=console, every=request.every, place=request.place
        )
        if request.target is None:
            return summary
        exported = await export_windows(
            context, request.target, as_of=as_of, again=request.again, place=request.place, console=console
        )
        return replace(summary, students_exported=exported)


async def materialise_pending(
    context: "JobContext", *, as_of: datetime, console: Console, every: bool = False, place: Place = "auto"
) -> MaterialiseSummary:
    """Compute and store what is not current; with `every`, all students. Otherwise as `materialise_district`."""
    async with AsyncExitStack() as alone:
        with console.status("waiting until no other run writes features of the district"):
            await alone.enter_async_context(context.features.exclusive_refresh())
        return await _materialise(context, as_of=as_of, console=console, every=every, place=place)


async def _materialise(
    context: "JobContext", *, as_of: datetime, console: Console, every: bool, place: Place
) -> MaterialiseSummary:
    district = await context.reader.district()
    through_week = last_closed_week(as_of, ZoneInfo(district.timezone))
    await context.features.carry_forward(contract=context.contract, through_week=through_week)
    pending = await _list_pending(context, through_week=through_week)
    keys = await context.reader.all_student_keys() if every else sorted(pending)
    chunks = _chunks(keys, pending)
    written = 0
    with progress_bars(console) as bars:
        bar = bars.add_task(f"features of {len(keys):,} students", total=len(keys), visible=bool(keys))

        def note(done: ChunkDone) -> None:
            nonlocal written
            written += done.counts[WEEKS_WRITTEN]
            bars.advance(bar, done.students)

        if is_for_ray(place, students=len(keys), student_us=STUDENT_US):
            plan = RefreshPlan(address_of(context), as_of, through_week)
            await do_chunks(plan, chunks, place="ray", settings=context.settings, on_done=note)
        else:
            refresher = Refresher(context, as_of=as_of, through_week=through_week)
            async for done in do_here(refresher, chunks, at_once=_AT_ONCE):
                note(done)
    return MaterialiseSummary(len(keys), written, through_week)


def _chunks(keys: Sequence[StudentKey], pending: "Mapping[StudentKey, PendingStudent]") -> list[RefreshChunk]:
    parts = [keys[start : start + CHUNK_STUDENTS] for start in range(0, len(keys), CHUNK_STUDENTS)]
    return [RefreshChunk(part, [pending[key] for key in part if key in pending]) for part in parts]


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


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["materialise", *sys.argv[1:]])
