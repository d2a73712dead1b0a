"""Labelled student-weeks for models that learn from rows: chosen, counted, never all in memory as windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Int32, Task, task_labels
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData

MINIMUM_PER_CLASS = 5


@dataclass(frozen=True)
class LabelledSteps:
    """R student-weeks (positions of student and step) with the label of each task, `LABEL_UNKNOWN` where unfair."""

    student: Int32
    step: Int32
    labels: Mapping[str, NDArray[np.int8]]

    def known(self, task: str) -> NDArray[np.intp]:
        """Positions of the rows that have a label."""
        return np.flatnonzero(self.labels[task] != LABEL_UNKNOWN)

    def take(self, rows: NDArray[np.intp]) -> "LabelledSteps":
        """The rows at these positions."""
        labels = {task: label[rows] for task, label in self.labels.items()}
        return LabelledSteps(self.student[rows], self.step[rows], labels)


def labelled_steps(
    data: TrainingData, *, tasks: Sequence[Task], max_rows: int | None = None, seed: int = 0
) -> LabelledSteps:
    """The eligible student-weeks of `data` in order, or a seeded sample of `max_rows` of them."""
    student, step = data.rows()
    if max_rows is not None and len(student) > max_rows:
        chosen = np.sort(np.random.default_rng(seed).choice(len(student), max_rows, replace=False))
        student, step = student[chosen], step[chosen]
    cutoff = (data.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    outcomes = data.outcomes.select(student)
    labels = {task.name: task_labels(outcomes, cutoff_day=cutoff, task=task) for task in tasks}
    return LabelledSteps(student, step, labels)


def require_both_classes(steps: LabelledSteps, *, task: str, model: str) -> None:
    """Return if the task has enough events and non-events to learn from.

    Raises:
        NotEnoughDataError: fewer than `MINIMUM_PER_CLASS` rows of either class.
    """
    label = steps.labels[task]
    events, others = int((label == 1).sum()), int((label == 0).sum())
    if min(events, others) < MINIMUM_PER_CLASS:
        msg = (
            f"Model {model} cannot learn task {task} from {events} student-weeks with the event and {others} without: "
            f"at least {MINIMUM_PER_CLASS} of each are needed, so give it more students or a later as-of date."
        )
        raise NotEnoughDataError(msg)


def last_step(batch: SequenceBatch) -> SequenceBatch:
    """The batch with its scored steps only: windows of length 1. An example without real steps stays empty."""
    rows = np.arange(batch.n_examples)
    last = np.maximum(batch.length - 1, 0)

    def at(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values[rows, last][:, None]

    return SequenceBatch(
        values=at(batch.values),  # pyright: ignore[reportArgumentType] - the dtype is kept
        support=at(batch.support),  # pyright: ignore[reportArgumentType]
        mask=at(batch.mask),  # pyright: ignore[reportArgumentType]
        aux=at(batch.aux),  # pyright: ignore[reportArgumentType]
        context=batch.context,
        week=at(batch.week),  # pyright: ignore[reportArgumentType]
        grade_level=at(batch.grade_level),  # pyright: ignore[reportArgumentType]
    )
