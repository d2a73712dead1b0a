"""Labels that a metric may trust: nobody is judged by a question whose answer could not have been known either way."""

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Outcomes, Task, task_labels
from edupulse_ml.core.weeks import NEVER

Int32 = NDArray[np.int32]


def evaluation_labels(
    outcomes: Outcomes, *, cutoff_day: Int32, task: Task, shortest_follow_up_days: int | None = None
) -> NDArray[np.int8]:
    """[B] 1 left in the task's interval, 0 known not to have, `LABEL_UNKNOWN` where the row is no fair example.

    As `core.outcomes.task_labels`, which answers nothing about an interval that reaches beyond the data. With
    `shortest_follow_up_days` such an interval ends with the data, for all rows of a cutoff alike, provided that this
    many days were followed: ranking is then measured fairly, calibration is not, because the prediction speaks of the
    longer interval. `outcomes` holds one entry per row.
    """
    available = np.int64(outcomes.as_of_day) - cutoff_day
    labels = task_labels(outcomes, cutoff_day=cutoff_day, task=task)
    if shortest_follow_up_days is None or shortest_follow_up_days >= task.end_day:
        return labels
    shortened = (available < task.end_day) & (available >= max(shortest_follow_up_days, task.start_day + 1))
    labels[shortened] = _labels_until(
        outcomes.select(np.flatnonzero(shortened).astype(np.int32)), cutoff_day[shortened], task, available[shortened]
    )
    return labels


def _labels_until(outcomes: Outcomes, cutoff_day: Int32, task: Task, end_days: NDArray[np.int64]) -> NDArray[np.int8]:
    has_event = outcomes.event_day != NEVER
    event_after = outcomes.event_day.astype(np.int64) - cutoff_day
    followed = outcomes.followed_until.astype(np.int64) - cutoff_day
    labels = np.full(len(cutoff_day), LABEL_UNKNOWN, dtype=np.int8)
    labels[~has_event & (followed >= end_days)] = 0
    labels[has_event & (event_after > task.start_day) & (event_after <= end_days)] = 1
    return labels
