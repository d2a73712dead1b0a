"""`edupulse tune`: search for better settings on Ray, fit the best again, and register it as a candidate."""

import asyncio
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.training.ensemble import DEFAULT_SEEDS
from edupulse_ml.training.search.searching import DEFAULT_TRIALS, SearchPlace
from edupulse_ml.training.strategies import DEFAULT_STRATEGY
from jobs.check_data import IgnoreBlockerOption, IgnoredBlockers, ReasonOption, require_fit_data
from jobs.experiment import History
from jobs.history import load_history
from jobs.materialise import materialise_pending
from jobs.policies import data_policy
from jobs.preflight import CheckOption, check_before, training_checks
from jobs.progress import progress_bars
from jobs.reporting import headline_metrics, show_report
from jobs.search_recording import recorded_search, with_jobs
from jobs.stack.paths import StackPaths
from jobs.tuning_request import TuningRequest
from jobs.tuning_run import TunedVersion, TuningRun
from jobs.wiring import JobContext, open_context


def tune(  # noqa: PLR0913 - one argument per option of the command
    *,
    strategy: Annotated[
        str, typer.Option(help="What to search: the networks of gru or ensemble, or boosted (LightGBM).")
    ] = DEFAULT_STRATEGY,
    trials: Annotated[
        int | None, typer.Option(min=2, help=f"Trials in all, an interrupted search's included; {DEFAULT_TRIALS}.")
    ] = None,
    windows: Annotated[
        str, typer.Option(help="Lengths of the window to search beside the district's own, in weeks, e.g. 8,12,16.")
    ] = "",
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; default: one per CPU of the cluster.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of a trial and of the winner.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Seeds that the winner is fitted with.")] = DEFAULT_SEEDS,
    test_year: Annotated[
        int | None, typer.Option(help="School year to test the winner on; default: the latest settled one.")
    ] = None,
    by_person: Annotated[
        bool, typer.Option("--by-person", help="Split by person only, where there are fewer than three school years.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of students for the intervals.")] = 1000,
    allow_small: Annotated[
        bool, typer.Option("--allow-small", help="Search on fewer than 1,000 students; for experiments only.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option(help="Name of an interrupted search to go on with; it keeps its own options.")
    ] = None,
    ignore_blocker: IgnoreBlockerOption = None,
    reason: ReasonOption = None,
    check: CheckOption = False,
) -> None:
    """Search for better settings on Ray; fit the best again, judge it on a later year, and register it as a candidate."""
    settings, clock, console = load_settings(), SystemClock(), Console()
    if check:
        check_before(settings, console, *training_checks(ray=True))
        return
    name = resume or f"tune-{settings.district}-{clock.now():%Y%m%dT%H%M%S}"
    place = SearchPlace(StackPaths.of(settings.home).home / "ray-tune" / name, resume=resume is not None)
    if place.resume:
        request = TuningRequest.load(place.folder)
    else:
        request = TuningRequest(
            strategy,
            DEFAULT_TRIALS,
            _weeks(windows),
            epochs,
            seeds,
            seed,
            test_year,
            by_person,
            allow_small,
            replicates,
        )
    ignored = IgnoredBlockers(tuple(ignore_blocker or ()), reason)
    request = replace(request, trials=trials or request.trials, ignored=ignored if ignored.names else request.ignored)
    tuned = tune_model(settings, request, place=place, concurrent=concurrent, clock=clock, console=console)
    show_report(tuned.report, console)


def tune_model(
    settings: Settings,
    request: TuningRequest,
    *,
    place: SearchPlace,
    concurrent: int | None = None,
    clock: Clock,
    console: Console,
) -> TunedVersion:
    """Search, fit the winner, judge and register it. Never promotes. Interrupted, it keeps the trials that are done.

    Not a coroutine: Tune ends a search in order only if it runs in the main thread, where interrupts arrive.

    Raises:
        InvalidInputError: the strategy has nothing to search, there are fewer than three school years, or the data
            policy's file is missing or does not fit.
        NotEnoughDataError: too few students or events to train honestly.
        DataBlockedError: something is wrong with the records that the request does not ignore.
        NotFoundError: there is no such search to resume.
        ConflictError: the search to resume was one of other data; or no trial has finished.
        RunStoppedError: the search was asked to stop.
        KeyboardInterrupt: it was interrupted.
    """
    context, history = asyncio.run(_read(settings, request, clock=clock, console=console))
    with recorded_search(context, parameters=request.parameters()) as record:
        tuned = TuningRun(context, request, place, concurrent, record, console).run(history)
        summary = headline_metrics(tuned.report)
        with_jobs(context, lambda jobs: record.succeed(jobs, model_version=tuned.version, summary=summary))
    return tuned


async def _read(
    settings: Settings, request: TuningRequest, *, clock: Clock, console: Console
) -> tuple[JobContext, History]:
    limits = data_policy(settings)
    async with open_context(settings, clock=clock) as context:
        now = clock.now()
        await materialise_pending(context, as_of=now, console=console)
        with progress_bars(console) as bars:
            reading = bars.add_task("reading student-weeks", total=1.0)
            history = await load_history(
                context, as_of=now, on_share=lambda share: bars.update(reading, completed=share)
            )
        await require_fit_data(context, as_of=now, policy=limits, ignored=request.ignored, console=console)
        return context, history


def _weeks(text: str) -> tuple[int, ...]:
    """Lengths from "8,12"."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InvalidInputError("`--windows` takes whole weeks, divided by commas, such as 8,12,16.") from error


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["tune", *sys.argv[1:]])
