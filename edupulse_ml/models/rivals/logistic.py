"""Logistic regression on five indicators every district has (sources.md 4.3)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.labels import labelled_steps, last_step, require_both_classes
from edupulse_ml.models.protocol import Progress, TrainingData, labelled_rows

INDICATORS: Final[tuple[str, ...]] = (
    "absence_rate_ytd",
    "gpa_current_term",
    "core_courses_failing_count",
    "missing_assignment_rate_4wk",
    "oss_days_ytd",
)
_COLUMNS: Final = [FEATURE_INDEX[name] for name in INDICATORS]


class Logistic:
    """z-scores of the last week's indicators, 0 where missing, each with an indicator of being missing."""

    name = "logistic"

    def __init__(self, norms: InputNorms | None = None) -> None:
        """`norms` of the training cohort, where they are known already; else they are fitted."""
        self._norms = norms
        self._coefficients: dict[str, NDArray[np.float64]] = {}

    def fit(
        self,
        train: TrainingData,
        validation: TrainingData,  # noqa: ARG002 - nothing is stopped early
        *,
        tasks: Sequence[Task],
        window_weeks: int,  # noqa: ARG002 - only the last week is read
        seed: int,  # noqa: ARG002 - the solver is deterministic
        progress: Progress,
    ) -> None:
        """Fit one regression per task.

        Raises:
            NotEnoughDataError: a task has hardly any events or non-events.
        """
        steps = labelled_steps(train, tasks=tasks)
        for task in tasks:
            require_both_classes(steps, task=task.name, model=self.name)
        self._norms = self._norms or InputNorms.fit(train)
        last = labelled_rows(train, student=steps.student, step=steps.step, window_weeks=1).batch
        design = _design(last, self._norms)
        for task in tasks:
            rows = steps.known(task.name)
            solver = LogisticRegression(C=1.0, max_iter=500)
            solver.fit(design[rows], steps.labels[task.name][rows])
            self._coefficients[task.name] = np.concatenate([solver.intercept_, solver.coef_[0]])
            progress({"rows": float(len(rows))})

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Probability per task.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if self._norms is None or not self._coefficients:
            msg = f"Model {self.name} has not been fitted: call `fit` or `load` before `predict`."
            raise InvalidInputError(msg)
        design = _design(last_step(batch), self._norms)
        return {
            task: 1.0 / (1.0 + np.exp(-(weights[0] + design @ weights[1:])))
            for task, weights in self._coefficients.items()
        }

    def save(self, directory: Path) -> None:
        """Write coefficients (JSON) and norms (npz).

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if self._norms is None:
            msg = f"Model {self.name} has not been fitted: there is nothing to save."
            raise InvalidInputError(msg)
        directory.mkdir(parents=True, exist_ok=True)
        stored = {task: weights.tolist() for task, weights in self._coefficients.items()}
        (directory / "logistic.json").write_text(json.dumps(stored))
        self._norms.save(directory / "norms.npz")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        model = cls(InputNorms.load(directory / "norms.npz"))
        stored = json.loads((directory / "logistic.json").read_text())
        model._coefficients = {task: np.array(weights) for task, weights in stored.items()}
        return model


def _design(last: SequenceBatch, norms: InputNorms) -> NDArray[np.float64]:
    """[B, 10] indicators and their missing flags."""
    z = norms.standardise(last, keep_missing=True)[:, 0, _COLUMNS].astype(np.float64)
    missing = ~np.isfinite(z)
    return np.concatenate([np.where(missing, 0.0, z), missing], axis=1)
