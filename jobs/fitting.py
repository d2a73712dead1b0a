"""Fits the network and its rivals for an experiment, here or on a Ray cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.protocol import Progress
from edupulse_ml.training.data import PreparedTraining
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions, TrainedModel, fit_here, fit_rivals, train_champion
from edupulse_ml.training.run import FitResult
from jobs.experiment import CHAMPION, Experiment, Predict

Step = Callable[[str], None]
"""Told the name of each piece of work as it begins."""


@dataclass(frozen=True)
class FittedModels:
    """The trained champion and every model of the report by name."""

    trained: TrainedModel
    predict: Mapping[str, Predict]


@dataclass(frozen=True)
class RayWorkers:
    """How wide to train on Ray. `storage` must be reachable from every worker; a run with the name of an earlier one
    goes on from its last checkpoint.
    """

    num_workers: int
    use_gpu: bool
    storage: Path
    run_name: str


def fit_all(
    experiment: Experiment, *, options: ChampionOptions, workers: RayWorkers | None, step: Step, progress: Progress
) -> FittedModels:
    """Fit the network (`workers` None: in this process) and the rivals on the same student-weeks.

    Raises:
        NotEnoughDataError: too few students or events to train honestly.
    """
    step("training the network")
    trained = train_champion(
        experiment.train,
        experiment.calibration,
        held_out=experiment.held_out,
        tasks=experiment.tasks,
        options=options,
        progress=progress,
        fitter=fit_here if workers is None else _on_ray(workers),
    )
    step("training the rivals")
    rivals = fit_rivals(
        experiment.train,
        experiment.calibration,
        tasks=experiment.tasks,
        window_weeks=experiment.window_weeks,
        seed=options.training.seed,
        progress=progress,
        held_out=experiment.held_out,
        allow_small=options.training.allow_small,
    )
    predict: dict[str, Predict] = {CHAMPION: trained.artifact.predict}
    return FittedModels(trained, predict | {rival.name: rival.predict for rival in rivals})


def _on_ray(workers: RayWorkers) -> Callable[[PreparedTraining, TrainingOptions, Task, Progress], FitResult]:
    def fit(prepared: PreparedTraining, options: TrainingOptions, task: Task, progress: Progress) -> FitResult:
        from edupulse_ml.training.distributed import ClusterOptions, fit_distributed

        result = fit_distributed(
            prepared,
            options,
            task=task,
            cluster=ClusterOptions(
                storage=workers.storage,
                run_name=workers.run_name,
                num_workers=workers.num_workers,
                use_gpu=workers.use_gpu,
            ),
        )
        for metrics in result.history:
            progress(metrics)
        return result

    return fit
