"""What every risk model is: fitted on student-weeks with outcomes, asked for probabilities of tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import Outcomes, Task
from edupulse_ml.core.sequences import FeatureBlock, Int32, SequenceBatch, windows_ending_at

CUTOFF_DAYS_AFTER_MONDAY = 6


@dataclass(frozen=True)
class TrainingData:
    """Student-weeks that may be learned from. `eligible` [N, S] marks them: real steps inside the split's dates whose
    cutoff is before the student's last attended day. `outcomes` has one entry per student of the block.
    """

    block: FeatureBlock
    outcomes: Outcomes
    eligible: NDArray[np.bool_]

    def rows(self) -> tuple[Int32, Int32]:
        """Positions (student, step) of the eligible student-weeks, in order."""
        student, step = np.nonzero(self.eligible)
        return student.astype(np.int32), step.astype(np.int32)


@dataclass(frozen=True)
class LabelledRows:
    """Chosen student-weeks with their windows, outcomes (one per row) and cutoffs (day numbers)."""

    batch: SequenceBatch
    student: Int32
    cutoff_day: Int32
    outcomes: Outcomes


def labelled_rows(data: TrainingData, *, student: Int32, step: Int32, window_weeks: int) -> LabelledRows:
    """The student-weeks at (student, step) as examples."""
    return LabelledRows(
        batch=windows_ending_at(data.block, student=student, step=step, window_weeks=window_weeks),
        student=student,
        cutoff_day=(data.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32),
        outcomes=data.outcomes.select(student),
    )


Progress = Callable[[Mapping[str, float]], None]
"""Called after each unit of work (an epoch) with its metrics."""


class RiskModel(Protocol):
    """A model of dropout risk. All of them pass `tests/contract/test_risk_model.py`."""

    name: str

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
        """Learn from `train`; `validation` (a later cohort) may stop the training early and calibrate the answers; nothing
        else is learned from it.
        """
        ...

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Probability per task name, each [B], at the last real step of each window. Row i depends on row i only."""
        ...


class StorableRiskModel(RiskModel, Protocol):
    """A risk model that can be written to a folder and read again, without pickle."""

    def save(self, directory: Path) -> None:
        """Write the fitted model into `directory`, which is made if missing."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; predictions are the same."""
        ...
