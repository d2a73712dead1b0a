"""The fitted model as a folder, with the arithmetic that it will be served with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.labels import labelled_steps
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.quantisation_choice import settle_on_cpu
from jobs.experiment import Experiment
from jobs.fitting import FittedModels

_GATE_ROWS: Final = 4_000
"""Student-weeks that int8 weights are judged on: enough for a 99th percentile, a second of scoring."""


@dataclass(frozen=True)
class StoredModel:
    """The folder, and what was measured on it: the largest difference of what is served from what was trained, and the
    figures of the gate for int8 weights.
    """

    folder: Path
    metrics: Mapping[str, float]


def store_model(fitted: FittedModels, experiment: Experiment, folder: Path, *, seed: int) -> StoredModel:
    """Write the trained model into `folder`; a single network also settles its engine on the calibration cohort."""
    artifact = fitted.trained.model
    metrics = {"onnx_largest_difference": artifact.save(folder)}
    if not isinstance(artifact, ModelArtifact):
        return StoredModel(folder, metrics)  # coarser arithmetic is tried on single networks only
    steps = labelled_steps(experiment.calibration, tasks=(artifact.task,), max_rows=_GATE_ROWS, seed=seed)
    rows = labelled_rows(
        experiment.calibration, student=steps.student, step=steps.step, window_weeks=experiment.window_weeks
    )
    label = steps.labels[artifact.task.name]
    if not {0, 1} <= set(label.tolist()):
        return StoredModel(folder, metrics)  # nothing to judge int8 weights by, so the exact ones are served
    choice = settle_on_cpu(folder, rows.batch, label)
    metrics |= {
        "int8_score_shift_p99": choice.gate.score_shift_p99,
        "int8_auc_change": choice.gate.auc_change,
        "int8_category_flips": choice.gate.flip_share,
        "int8_relative_time": choice.coarse_s / choice.exact_s,
    }
    return StoredModel(folder, metrics)
