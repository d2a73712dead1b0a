"""A rival with calibrated answers, so that its probabilities can stand beside the champion's."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.calibration import Calibrator, load_calibrators, save_calibrators
from edupulse_ml.models.cohort_scores import CohortSample, fit_calibrators, score_cohort
from edupulse_ml.models.protocol import Progress, StorableRiskModel, TrainingData
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.base_rate import BaseRate
from edupulse_ml.models.rivals.boosted import Boosted
from edupulse_ml.models.rivals.chronic_absence import ChronicAbsence
from edupulse_ml.models.rivals.logistic import Logistic
from edupulse_ml.models.rivals.mlp_last import MlpLast

_STORED: Final[Mapping[str, type[StorableRiskModel]]] = {
    kind.name: kind for kind in (BaseRate, ChronicAbsence, AbcRule, Logistic, MlpLast, Boosted)
}
_FILE, _CALIBRATION, _INNER = "calibrated.json", "calibration.json", "model"


class CalibratedModel:
    """A rival and one calibrator per task; known by the rival's name.

    `held_out` holds earlier weeks of people whom training never saw, for tasks that the calibration cohort has too few
    events of; `allow_small` leaves a task's scores as they are where both have too few.
    """

    def __init__(
        self, model: StorableRiskModel, *, held_out: TrainingData | None = None, allow_small: bool = False
    ) -> None:
        self.name = model.name
        self._model = model
        self._held_out = held_out
        self._allow_small = allow_small
        self._calibrators: dict[str, Calibrator] = {}

    @property
    def calibrators(self) -> Mapping[str, Calibrator]:
        """By task; empty before `fit`."""
        return self._calibrators

    def fit(
        self,
        train: TrainingData,
        validation: TrainingData,
        *,
        tasks: Sequence[Task],
        window_weeks: int,
        seed: int,
        progress: Progress,
    ) -> None:
        """Fit the rival, then its calibrators on `validation`.

        Raises:
            NotEnoughDataError: too few events to fit, or to calibrate (unless `allow_small`).
        """
        self._model.fit(train, validation, tasks=tasks, window_weeks=window_weeks, seed=seed, progress=progress)
        sample = CohortSample(window_weeks=window_weeks, seed=seed)
        predict = self._model.predict
        scored = score_cohort(predict, validation, tasks=tasks, sample=sample)
        self._calibrators = fit_calibrators(
            predict, scored, self._held_out, tasks=tasks, sample=sample, allow_small=self._allow_small
        )

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Calibrated probability per task.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        return {task: self._calibrators[task].apply(raw) for task, raw in self._model.predict(batch).items()}

    def save(self, directory: Path) -> None:
        """Write the rival, its name and the calibrators (JSON).

        Raises:
            InvalidInputError: the model is not fitted, or not one of the rivals.
        """
        if not self._calibrators or type(self._model) is not _STORED.get(self.name):
            msg = f"Model {self.name} cannot be saved: fit it first, and see that it is one of {', '.join(_STORED)}."
            raise InvalidInputError(msg)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _FILE).write_text(json.dumps({"model": self.name}))
        save_calibrators(self._calibrators, directory / _CALIBRATION)
        self._model.save(directory / _INNER)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        name = json.loads((directory / _FILE).read_text())["model"]
        model = cls(_STORED[name].load(directory / _INNER))
        model._calibrators = load_calibrators(directory / _CALIBRATION)
        return model
