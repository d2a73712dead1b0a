"""Takes up a training run that the API queued: what it was asked for, done as `edupulse train` does it."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.clock import Clock
from edupulse_ml.training.options import TrainingOptions
from jobs.fitting import RayWorkers
from jobs.recording import take_up
from jobs.stack.paths import StackPaths
from jobs.train import TrainedVersion, TrainingRequest, train_model


async def train_queued(settings: Settings, job_id: UUID, *, clock: Clock, console: Console) -> TrainedVersion:
    """Begin the run in this process and train as it was asked for.

    Raises:
        NotFoundError: the district has no such run.
        ConflictError: it does not wait: it was stopped, or another process has it.
    """
    queued = await take_up(settings, job_id, clock=clock)
    request = ordered(TrainingOrder.model_validate(queued.request), settings, run_name=queued.run_name)
    return await train_model(settings, replace(request, job_id=job_id), clock=clock, console=console)


def ordered(order: TrainingOrder, settings: Settings, *, run_name: str | None) -> TrainingRequest:
    """What an order means on this machine. `run_name` names its checkpoints; None only where it has no workers."""
    storage = StackPaths.of(settings.home).home / "ray-train"
    return TrainingRequest(
        TrainingOptions(
            window_weeks=settings.window_weeks, epochs=order.epochs, seed=order.seed, allow_small=order.allow_small
        ),
        test_year=order.test_year,
        by_person=order.by_person,
        workers=_workers(order, storage, run_name) if order.workers and run_name else None,
        replicates=order.replicates,
        promote=order.promote,
        strategy=order.strategy,
        seeds=order.seeds,
    )


def _workers(order: TrainingOrder, storage: Path, run_name: str) -> RayWorkers:
    return RayWorkers(order.workers, order.gpu, storage, run_name, resumes=order.resume is not None)
