"""Training in this process."""

from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.protocol import Progress
from edupulse_ml.training.data import PreparedTraining
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import FitResult, TrainingRun


def fit_local(
    prepared: PreparedTraining, options: TrainingOptions, *, task: Task, progress: Progress, device: str = "cpu"
) -> FitResult:
    """Train until the epochs are done or validation stops improving; the same figures as one Ray worker gives."""
    run = TrainingRun(prepared, options, task=task, device=device)
    while not run.finished:
        progress(run.next_epoch())
    return run.result
