"""Rules that put a student on a level; the probability of a level is its frequency in training."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.labels import labelled_steps, last_step, require_both_classes
from edupulse_ml.models.protocol import Progress, TrainingData, labelled_rows

PRIOR_WEIGHT = 20.0
"""Student-weeks of the overall rate that every level's frequency is mixed with."""

_FILE = "levels.json"


class LevelRule(ABC):
    """A fixed rule on the last week's features with a learned probability per level."""

    name: str
    n_levels: ClassVar[int]

    def __init__(self) -> None:
        self._rates: dict[str, NDArray[np.float64]] = {}

    @abstractmethod
    def levels(self, last: SequenceBatch) -> NDArray[np.int64]:
        """[B] level of each example, 0 to `n_levels` - 1, from windows of length 1."""

    def fit(
        self,
        train: TrainingData,
        validation: TrainingData,  # noqa: ARG002 - a rule has nothing to stop early
        *,
        tasks: Sequence[Task],
        window_weeks: int,  # noqa: ARG002 - a rule reads the last week
        seed: int,  # noqa: ARG002 - nothing is random
        progress: Progress,
    ) -> None:
        """Count events per level.

        Raises:
            NotEnoughDataError: a task has hardly any events or non-events.
        """
        steps = labelled_steps(train, tasks=tasks)
        for task in tasks:
            require_both_classes(steps, task=task.name, model=self.name)
        last = labelled_rows(train, student=steps.student, step=steps.step, window_weeks=1).batch
        level = self.levels(last)
        for task in tasks:
            rows = steps.known(task.name)
            event = steps.labels[task.name][rows].astype(np.float64)
            count = np.bincount(level[rows], minlength=self.n_levels)
            events = np.bincount(level[rows], weights=event, minlength=self.n_levels)
            self._rates[task.name] = (events + PRIOR_WEIGHT * event.mean()) / (count + PRIOR_WEIGHT)
        progress({"levels": float(self.n_levels), "rows": float(len(level))})

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Frequency of each example's level, per task.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if not self._rates:
            msg = f"Model {self.name} has not been fitted: call `fit` or `load` before `predict`."
            raise InvalidInputError(msg)
        level = self.levels(last_step(batch))
        return {task: rates[level] for task, rates in self._rates.items()}

    def rates(self, task: str) -> NDArray[np.float64]:
        """[n_levels] probability of each level."""
        return self._rates[task]

    def save(self, directory: Path) -> None:
        """Write the probabilities as JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _FILE).write_text(json.dumps({task: rates.tolist() for task, rates in self._rates.items()}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        model = cls()
        stored = json.loads((directory / _FILE).read_text())
        model._rates = {task: np.array(rates, dtype=np.float64) for task, rates in stored.items()}
        return model
