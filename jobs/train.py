"""`edupulse train`: fit, calibrate, judge beside the rivals, and register a model."""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.config.training_order import WITH_NETWORKS
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.storage.training_jobs import TrainingJobRepository
from edupulse_ml.training.ensemble import DEFAULT_SEEDS
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions
from edupulse_ml.training.strategies import DEFAULT_STRATEGY, StrategyOptions
from jobs.check_data import (
    NOTHING_IGNORED,
    IgnoreBlockerOption,
    IgnoredBlockers,
    ReasonOption,
    require_fit_data,
)
from jobs.experiment import Experiment, History, default_tasks, latest_test_year, set_up
from jobs.fitting import FittedModels, RayWorkers, fit_all, worker_bounds
from jobs.history import load_history
from jobs.judging import judge_on_test_year
from jobs.materialise import materialise_pending
from jobs.policies import data_policy, promotion_policy
from jobs.preflight import CheckOption, check_before, gate_check, training_checks
from jobs.progress import progress_bars
from jobs.promotion.deciding import (
    PromotionPlaces,
    PromotionRequest,
    install_first,
    judging_anew,
    promote_if_better,
)
from jobs.promotion.showing import show_verdict
from jobs.recording import SILENT, RunRecord, recorded_run
from jobs.reporting import SPLIT_SEED, STRATEGY, TEST_YEAR, headline_metrics, record_run, run_tags, show_report
from jobs.stack.paths import StackPaths
from jobs.stored_model import store_model
from jobs.tracking import Tracking
from jobs.wiring import JobContext, connected_to_ray, open_context

_COMMAND = "edupulse train"


@dataclass(frozen=True)
class TrainingRequest:
    """What a training run is asked for. `test_year` None: the latest settled school year. `by_person`: split by person
    only. `workers` None: train in this process. `strategy` is one of `training.strategies.STRATEGIES`, `seeds` are the
    networks of an ensemble. `job_id` is a run that was taken up from the queue; None: it begins with this call.
    The version is registered with `tags`, beside those that say what it was trained on.
    """

    training: TrainingOptions
    test_year: int | None = None
    by_person: bool = False
    workers: RayWorkers | None = None
    replicates: int = 1000
    promote: bool = True
    strategy: str = DEFAULT_STRATEGY
    seeds: int = DEFAULT_SEEDS
    job_id: UUID | None = None
    record: RunRecord = SILENT
    ignored: IgnoredBlockers = NOTHING_IGNORED
    tags: Mapping[str, str] = field(default_factory=dict)


def train(  # noqa: PLR0913 - one argument per option of the command
    *,
    strategy: Annotated[
        str, typer.Option(help="What to train: gru, boosted, ensemble (networks and boosted trees) or rules.")
    ] = DEFAULT_STRATEGY,
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="Seeds of an ensemble: a network and boosted trees of each.")
    ] = DEFAULT_SEEDS,
    test_year: Annotated[
        int | None, typer.Option(help="School year to test on, by its starting year; default: the latest settled one.")
    ] = None,
    by_person: Annotated[
        bool, typer.Option("--by-person", help="Split by person only, where there are fewer than three school years.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs; training stops early.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    workers: Annotated[
        str, typer.Option(help="Ray Train workers, e.g. 2, or the fewest and the most, e.g. 1:4; 0: in this process.")
    ] = "0",
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each Ray Train worker a GPU.")] = False,
    resume: Annotated[
        str | None, typer.Option(help="Name of an earlier run on Ray to go on from its last checkpoint.")
    ] = None,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of students for the intervals.")] = 1000,
    allow_small: Annotated[
        bool, typer.Option("--allow-small", help="Train on fewer than 1,000 students; for experiments only.")
    ] = False,
    promote: Annotated[
        bool,
        typer.Option(help="Make the new model the champion if it meets the promotion policy, or if there is none yet."),
    ] = True,
    ignore_blocker: IgnoreBlockerOption = None,
    reason: ReasonOption = None,
    check: CheckOption = False,
) -> None:
    """Train a model on the district's records, judge it beside its members and rivals on a later year, and register it."""
    settings, clock, console = load_settings(), SystemClock(), Console()
    if check:
        gate = (gate_check(),) if promote else ()
        check_before(settings, console, *training_checks(ray=worker_bounds(workers) != 0), *gate)
        return
    training = TrainingOptions(window_weeks=settings.window_weeks, epochs=epochs, seed=seed, allow_small=allow_small)
    ray_workers = None
    if (num_workers := worker_bounds(workers)) != 0:
        run_name = resume or f"train-{settings.district}-{clock.now():%Y%m%dT%H%M%S}"
        storage = StackPaths.of(settings.home).home / "ray-train"
        ray_workers = RayWorkers(num_workers, gpu, storage, run_name, resumes=resume is not None)
        if strategy in WITH_NETWORKS:
            console.print(f"Run {run_name}: if it is interrupted, `--resume {run_name}` goes on.", soft_wrap=True)
    if resume is not None and (num_workers == 0 or strategy not in WITH_NETWORKS):
        raise InvalidInputError("`--resume` goes on with networks on Ray: pass `--workers`, and gru or ensemble.")
    request = TrainingRequest(
        training,
        test_year,
        by_person,
        ray_workers,
        replicates,
        promote,
        strategy,
        seeds,
        ignored=IgnoredBlockers(tuple(ignore_blocker or ()), reason),
    )
    trained = asyncio.run(train_model(settings, request, clock=clock, console=console))
    show_report(trained.report, console)


@dataclass(frozen=True)
class TrainedVersion:
    """A registered model and its report on the test year."""

    version: ModelVersion
    report: EvaluationReport


async def train_model(
    settings: Settings, request: TrainingRequest, *, clock: Clock, console: Console
) -> TrainedVersion:
    """Train, judge and register. Student-weeks that imports touched are materialised first.

    Raises:
        NotEnoughDataError: too few students, weeks or events to train honestly.
        DataBlockedError: something is wrong with the records that the request does not ignore.
        InvalidInputError: the records do not span the three school years needed, or a policy's file is missing or does
            not fit.
        NotFoundError: there is no run to resume.
        TrainingUnderWayError: another training run of the district is under way.
        RunStoppedError: the run was asked to stop.
    """
    async with open_context(settings, clock=clock) as context:
        async with recorded_run(
            context,
            request.job_id,
            parameters={**_options(request).as_parameters(), **request.ignored.as_tags()},
            run_name=_run_name(request),
        ) as record:
            gate = promotion_policy(settings) if request.promote else None
            trained = await _train(context, replace(request, record=record), console)
            jobs = TrainingJobRepository(context.database, clock=clock)
            await record.succeed(jobs, model_version=trained.version, summary=headline_metrics(trained.report))
        if gate is not None:
            await _promote(context, trained.version, gate, console)
        return trained


def _run_name(request: TrainingRequest) -> str | None:
    return None if request.workers is None else request.workers.run_name


async def _promote(context: JobContext, version: ModelVersion, policy: PromotionPolicy, console: Console) -> None:
    """The first model of a district is its champion; every later one must meet the policy, or stays a candidate."""
    places = PromotionPlaces.of(context)
    if await install_first(places, version, by=_COMMAND):
        console.print(f"Version {version} is the district's first champion.")
        return
    with progress_bars(console) as bars:
        doing = bars.add_task("judging beside the champion", total=None)
        judge = judging_anew(context, policy, step=lambda name: bars.update(doing, description=name))
        outcome = await promote_if_better(places, PromotionRequest(policy, _COMMAND, version), judge=judge)
        bars.update(doing, total=1, completed=1)
    show_verdict(outcome.verdict, console)
    said = "the champion now" if outcome.promoted else "a candidate; the champion stays"
    console.print(f"Version {version} is {said}.")


async def _train(context: JobContext, request: TrainingRequest, console: Console) -> TrainedVersion:
    now, limits = context.clock.now(), data_policy(context.settings)
    request.record.step("computing features")
    await materialise_pending(context, as_of=now, console=console)
    request.record.step("reading student-weeks")
    with progress_bars(console) as bars:
        reading = bars.add_task("reading student-weeks", total=1.0)
        history = await load_history(context, as_of=now, on_share=lambda share: bars.update(reading, completed=share))
    request.record.step("checking the records")
    await require_fit_data(context, as_of=now, policy=limits, ignored=request.ignored, console=console)
    return await asyncio.to_thread(_fit_and_register, context, history, request, console)


def _fit_and_register(
    context: JobContext, history: History, request: TrainingRequest, console: Console
) -> TrainedVersion:
    settings, training = context.settings, request.training
    started = context.clock.now()
    test_year = None if request.by_person else request.test_year or latest_test_year(history)
    experiment = set_up(
        history,
        test_year=test_year,
        tasks=default_tasks(risk_task(settings.risk_horizon_days)),
        window_weeks=training.window_weeks,
        seed=training.seed,
    )
    tags = run_tags(settings, experiment) | {
        TEST_YEAR: str(test_year or ""),
        SPLIT_SEED: str(training.seed),
        STRATEGY: request.strategy,
        **request.ignored.as_tags(),
    }
    champion = ChampionOptions(
        training=training,
        objective_discipline_only=settings.objective_discipline_only,
        policy_version=f"{started:%Y-%m-%d}.{training.seed}",
        metadata=tags,
    )
    options = replace(_options(request), champion=champion)
    with connected_to_ray(settings, needed=request.workers is not None):
        fitted = _fit(experiment, options, request, console)
    request.record.step("judging on the test year")
    reports = judge_on_test_year(
        experiment, fitted, settings, replicates=request.replicates, started=started, console=console
    )
    request.record.step("registering")
    with tempfile.TemporaryDirectory(prefix="edupulse-train-") as scratch:
        version = record_run(
            context.registry,
            Tracking(context),
            store_model(fitted, experiment, Path(scratch) / "artifact", seed=training.seed),
            name=f"train {started:%Y-%m-%d %H:%M}",
            fitted=fitted,
            options=options,
            tags={**tags, **request.tags},
            reports=reports,
        )
    console.print(f"Registered as version {version}.")
    return TrainedVersion(version, reports["test"])


def _options(request: TrainingRequest) -> StrategyOptions:
    """What the request says; all that depends on the district's records is still missing."""
    return StrategyOptions(request.strategy, request.seeds, ChampionOptions(training=request.training))


def _fit(experiment: Experiment, options: StrategyOptions, request: TrainingRequest, console: Console) -> FittedModels:
    with progress_bars(console) as bars:
        epochs = options.networks * options.champion.training.epochs or None
        doing = bars.add_task("preparing", total=epochs)

        def step(name: str) -> None:
            bars.update(doing, description=name, completed=0)
            request.record.step(name, of_epochs=epochs if name.startswith("training (") else None)

        def progress(metrics: Mapping[str, float]) -> None:
            bars.advance(doing)
            request.record.progress(metrics)

        return fit_all(
            experiment,
            options=options,
            workers=request.workers,
            step=step,
            progress=progress,
            is_stopped=lambda: request.record.is_stopped,
        )


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["train", *sys.argv[1:]])
