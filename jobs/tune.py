"""`edupulse tune`: search for better settings on Ray, fit the best again, and register it as a candidate."""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import EduPulseError, InvalidInputError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.storage.training_jobs import TrainingJobRepository
from edupulse_ml.training.ensemble import DEFAULT_SEEDS
from edupulse_ml.training.search.searching import DEFAULT_TRIALS, Search, SearchOptions, SearchPlace
from edupulse_ml.training.search.study import TrialRecord
from edupulse_ml.training.strategies import DEFAULT_STRATEGY, StrategyOptions
from jobs.experiment import Experiment, History, default_tasks, latest_test_year, set_up
from jobs.history import load_history
from jobs.materialise import materialise_pending
from jobs.progress import progress_bars
from jobs.promotion.reasons import reasons_on_test
from jobs.reporting import SPLIT_SEED, STRATEGY, TEST_YEAR, headline_metrics, record_run, run_tags, show_report
from jobs.search_records import PARENT_RUN, SearchRecords, show_candidate, show_search
from jobs.stack.paths import StackPaths
from jobs.stored_model import store_model
from jobs.tracking import Tracking
from jobs.tuning import Refitted, judge_refitted, refit, search_experiment
from jobs.tuning_request import TuningRequest
from jobs.wiring import JobContext, connected_to_ray, open_context


@dataclass(frozen=True)
class TunedVersion:
    """The registered candidate, and its report on the test people."""

    version: ModelVersion
    report: EvaluationReport


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
) -> None:
    """Search for better settings on Ray; fit the best again, judge it on a later year, and register it as a candidate."""
    settings, clock, console = load_settings(), SystemClock(), Console()
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
    request = replace(request, trials=trials or request.trials)
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
        InvalidInputError: the strategy has nothing to search, or there are fewer than three school years.
        NotEnoughDataError: too few students or events to train honestly.
        NotFoundError: there is no such search to resume.
        ConflictError: the search to resume was one of other data; or no trial has finished.
        KeyboardInterrupt: the search was interrupted.
    """
    context, history, job_id = asyncio.run(_read(settings, request, clock=clock, console=console))
    try:
        tuned = _Tuning(context, request, place, concurrent, console).run(history)
    except BaseException as error:
        # Only our own sentences are free of student data; of anything else the kind of error is kept.
        told = str(error) if isinstance(error, EduPulseError) else type(error).__name__
        asyncio.run(_note_end(settings, clock, job_id, failure=told))
        raise
    asyncio.run(_note_end(settings, clock, job_id, tuned=tuned))
    return tuned


async def _read(
    settings: Settings, request: TuningRequest, *, clock: Clock, console: Console
) -> tuple[JobContext, History, UUID]:
    async with open_context(settings, clock=clock) as context:
        now = clock.now()
        await materialise_pending(context, as_of=now, console=console)
        with progress_bars(console) as bars:
            reading = bars.add_task("reading student-weeks", total=1.0)
            history = await load_history(
                context, as_of=now, on_share=lambda share: bars.update(reading, completed=share)
            )
        runs = TrainingJobRepository(context.database, clock=clock)
        return context, history, await runs.start(kind="tune", parameters=asdict(request))


async def _note_end(
    settings: Settings, clock: Clock, job_id: UUID, *, tuned: TunedVersion | None = None, failure: str = ""
) -> None:
    async with open_context(settings, clock=clock) as context:
        runs = TrainingJobRepository(context.database, clock=clock)
        if tuned is None:
            await runs.fail(job_id, error=failure)
        else:
            await runs.succeed(job_id, model_version=tuned.version, summary=headline_metrics(tuned.report))


@dataclass(frozen=True)
class _Tuning:
    """One call of the job; of `context` only what needs no open connection is used."""

    context: JobContext
    request: TuningRequest
    place: SearchPlace
    concurrent: int | None
    console: Console

    def run(self, history: History) -> TunedVersion:
        request, settings = self.request, self.context.settings
        test_year = None if request.by_person else request.test_year or latest_test_year(history)
        experiment = set_up(
            history,
            test_year=test_year,
            tasks=default_tasks(risk_task(settings.risk_horizon_days)),
            window_weeks=settings.window_weeks,
            seed=request.seed,
        )
        base = request.start(settings, now=self.context.clock.now())
        request.save(self.place.folder)
        search = search_experiment(
            experiment,
            base=base,
            options=SearchOptions(request.trials, self.concurrent, request.windows),
            place=self.place,
        )
        name = self.place.folder.name
        tracking = Tracking(self.context)
        with tracking.run(f"search {name}", resumed_id=search.study.noted(PARENT_RUN)) as parent:
            if not self.place.resume:
                parent.set_tags({**run_tags(settings, experiment), STRATEGY: request.strategy, "search": name})
                parent.log_params(base.as_parameters())
            records = SearchRecords(search, parent)
            self._search(search, records)
            winner = replace(search.winner, boosted=replace(search.winner.boosted, threads=base.boosted.threads))
            tags = {
                TEST_YEAR: str(test_year or ""),
                SPLIT_SEED: str(request.seed),
                STRATEGY: request.strategy,
                "search": name,
                "trial": str(search.study.best.number),
            }
            return self._register(experiment, winner, base, tags=tags, tracking=Tracking(self.context, parent.run_id))

    def _search(self, search: Search, records: SearchRecords) -> None:
        records.catch_up()
        total = self.request.trials
        self.console.print(f"Search {self.place.folder.name}.", soft_wrap=True, highlight=False)
        with connected_to_ray(self.context.settings, needed=True), progress_bars(self.console) as bars:
            doing = bars.add_task("trials", total=total, completed=search.study.done)

            def ended(trial: TrialRecord) -> None:
                records.trial(trial)
                reached = "" if trial.value is None else f" at {trial.value:.4f}"
                bars.update(doing, description=f"trial {trial.number} {trial.state}{reached}", advance=1)

            complete = search.run(ended=ended)
        records.summary()
        if not complete:
            self.console.print(
                f"Interrupted: {search.study.done} of {total} trials are kept. Go on with "
                f"`edupulse tune --resume {self.place.folder.name}`.",
                soft_wrap=True,
                highlight=False,
            )
            raise KeyboardInterrupt
        records.winner()
        show_search(search, self.console)

    def _register(
        self,
        experiment: Experiment,
        winner: StrategyOptions,
        base: StrategyOptions,
        *,
        tags: Mapping[str, str],
        tracking: Tracking,
    ) -> TunedVersion:
        settings, started = self.context.settings, self.context.clock.now()
        own = replace(experiment, window_weeks=winner.champion.training.window_weeks)
        all_tags = run_tags(settings, own) | dict(tags)
        winner = replace(winner, champion=replace(winner.champion, metadata=all_tags))
        refitted = self._refit(experiment, winner, base)
        with progress_bars(self.console) as bars:
            bars.add_task("judging on the test year and on validation people", total=None)
            reports = judge_refitted(
                refitted,
                created_at=started.isoformat(timespec="seconds"),
                replicates=self.request.replicates,
                title=f"District {settings.district}",
            )
        trained = refitted.fitted.trained
        reports["test"] = replace(reports["test"], faithfulness=reasons_on_test(own, trained.model))
        with tempfile.TemporaryDirectory(prefix="edupulse-tune-") as scratch:
            version = record_run(
                self.context.registry,
                tracking,
                store_model(refitted.fitted, own, Path(scratch) / "artifact", seed=self.request.seed),
                name=f"winner {started:%Y-%m-%d %H:%M}",
                fitted=refitted.fitted,
                options=winner,
                tags=all_tags,
                reports=reports,
            )
        show_candidate(
            version, reports, weeks=own.window_weeks, served_weeks=settings.window_weeks, console=self.console
        )
        return TunedVersion(version, reports["test"])

    def _refit(self, experiment: Experiment, winner: StrategyOptions, base: StrategyOptions) -> Refitted:
        with progress_bars(self.console) as bars:
            doing = bars.add_task("fitting the winner", total=None)

            def step(name: str) -> None:
                bars.update(doing, description=name)

            return refit(experiment, winner=winner, base=base, step=step, progress=lambda _: bars.advance(doing))


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
