"""Fits the strategy asked for and its rivals for an experiment, here or on a Ray cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.protocol import Progress
from edupulse_ml.training.data import PreparedTraining
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import RivalOptions, fit_here, fit_rivals
from edupulse_ml.training.run import FitResult
from edupulse_ml.training.strategies import Cohorts, StrategyOptions, TrainedStrategy, train_strategy
from jobs.experiment import Experiment, Predict

Step = Callable[[str], None]
"""Told the name of each piece of work as it begins."""


@dataclass(frozen=True)
class FittedModels:
    """The trained model, and every model of the report by name: itself by its strategy, its members, the rivals."""

    trained: TrainedStrategy
    predict: Mapping[str, Predict]


@dataclass(frozen=True)
class RayWorkers:
    """How wide to train on Ray; (fewest, most) workers follow what the cluster has. `storage` must be reachable from
    every worker; a run with the name of an earlier one goes on from its last checkpoint if it has the same data and
    options. Else it begins anew, or is refused where it `resumes`: where somebody asked to go on. Networks of an ensemble
    after the first may then begin.
    """

    num_workers: int | tuple[int, int]
    use_gpu: bool
    storage: Path
    run_name: str
    resumes: bool = False


def worker_bounds(text: str) -> int | tuple[int, int]:
    """Workers from "2", or from "1:4", the fewest and the most.

    Raises:
        InvalidInputError: it is neither.
    """
    fewest, divided, most = text.partition(":")
    if fewest.isdecimal() and not divided:
        return int(fewest)
    if fewest.isdecimal() and most.isdecimal() and 1 <= int(fewest) <= int(most):
        return int(fewest), int(most)
    raise InvalidInputError("`--workers` takes a number, or the fewest and the most, such as 1:4.")


def fit_all(
    experiment: Experiment,
    *,
    options: StrategyOptions,
    workers: RayWorkers | None,
    step: Step,
    progress: Progress,
    is_stopped: Callable[[], bool] = lambda: False,
) -> FittedModels:
    """Fit the strategy (its networks with `workers` None in this process) and the rivals on the same student-weeks. On Ray,
    where `progress` is told from another thread while this one waits, `is_stopped` is asked whether to end with the epoch
    at hand.

    Raises:
        NotEnoughDataError: too few students or events to train honestly.
        InvalidInputError: there is no such strategy.
        NotFoundError: there is no run to resume.
        ConflictError: the run to resume has other options or data, or the run was stopped.
    """
    training = options.champion.training
    step(f"training ({options.strategy})")
    trained = train_strategy(
        Cohorts(experiment.train, experiment.calibration, experiment.held_out),
        tasks=experiment.tasks,
        options=options,
        progress=progress,
        fitter=fit_here if workers is None else _on_ray(workers, first_seed=training.seed, is_stopped=is_stopped),
    )
    step("training the rivals")
    rivals = fit_rivals(
        experiment.train,
        experiment.calibration,
        tasks=experiment.tasks,
        options=RivalOptions(experiment.window_weeks, training.seed, allow_small=training.allow_small),
        progress=progress,
        held_out=experiment.held_out,
    )
    predict: dict[str, Predict] = {trained.model.strategy: trained.model.predict, **trained.members}
    return FittedModels(trained, predict | {rival.name: rival.predict for rival in rivals})


def _on_ray(
    workers: RayWorkers, *, first_seed: int, is_stopped: Callable[[], bool]
) -> Callable[[PreparedTraining, TrainingOptions, Task, Progress], FitResult]:
    def fit(prepared: PreparedTraining, options: TrainingOptions, task: Task, progress: Progress) -> FitResult:
        from edupulse_ml.training.distributed import ClusterOptions, fit_distributed

        # Each network of an ensemble has checkpoints of its own, found again by the same name.
        member = options.seed - first_seed
        return fit_distributed(
            prepared,
            options,
            task=task,
            cluster=ClusterOptions(
                storage=workers.storage,
                run_name=f"{workers.run_name}-{member}" if member else workers.run_name,
                resumes=workers.resumes,
                follows=member > 0,
                num_workers=workers.num_workers,
                use_gpu=workers.use_gpu,
            ),
            progress=progress,
            is_stopped=is_stopped,
        )

    return fit
