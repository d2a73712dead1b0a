"""Labels of dated outcomes: who is a fair example of which question."""

import numpy as np
import pytest

from edupulse_ml.core.outcomes import (
    EARLY_TASK,
    LABEL_UNKNOWN,
    Outcomes,
    Task,
    hazard_targets,
    interval_probability,
    risk_task,
    task_labels,
)
from edupulse_ml.core.weeks import NEVER

CUTOFF = 1000


def _one(*, event: int | None, followed: int, as_of: int) -> Outcomes:
    event_day = NEVER if event is None else CUTOFF + event
    return Outcomes(
        np.array([event_day], np.int32),
        np.array([event_day if event is not None else CUTOFF + followed], np.int32),
        CUTOFF + as_of,
    )


@pytest.mark.parametrize(
    ("event", "followed", "as_of", "risk", "early"),
    [
        (100, 100, 400, 1, 1),
        (40, 40, 400, 1, LABEL_UNKNOWN),
        (200, 200, 400, 0, 1),
        (None, 400, 400, 0, 0),
        (None, 200, 400, 0, LABEL_UNKNOWN),
        (None, 100, 400, LABEL_UNKNOWN, LABEL_UNKNOWN),
        (0, 0, 400, LABEL_UNKNOWN, LABEL_UNKNOWN),
        (-5, -5, 400, LABEL_UNKNOWN, LABEL_UNKNOWN),
        (100, 100, 150, LABEL_UNKNOWN, LABEL_UNKNOWN),
    ],
    ids=[
        "leaves within the horizon",
        "leaves within 60 days",
        "leaves after the horizon",
        "stays",
        "transfers after the horizon",
        "transfers before the horizon",
        "last attended on the cutoff",
        "left already",
        "leaves, but stayers could not be known yet",
    ],
)
def test_labels(event: int | None, followed: int, as_of: int, risk: int, early: int) -> None:
    outcomes = _one(event=event, followed=followed, as_of=as_of)
    cutoff = np.array([CUTOFF], np.int32)
    assert task_labels(outcomes, cutoff_day=cutoff, task=risk_task())[0] == risk
    assert task_labels(outcomes, cutoff_day=cutoff, task=EARLY_TASK)[0] == early


def test_hazard_targets_follow_the_student_through_the_intervals() -> None:
    target, weight = hazard_targets(_one(event=75, followed=75, as_of=400), cutoff_day=np.array([CUTOFF], np.int32))
    assert target[0].tolist() == [0, 0, 1, 0, 0]
    assert weight[0].tolist() == [1, 1, 1, 0, 0]
    target, weight = hazard_targets(_one(event=None, followed=95, as_of=400), cutoff_day=np.array([CUTOFF], np.int32))
    assert target.sum() == 0
    assert weight[0].tolist() == [1, 1, 1, 0, 0]
    _, weight = hazard_targets(_one(event=75, followed=75, as_of=80), cutoff_day=np.array([CUTOFF], np.int32))
    assert weight[0].tolist() == [1, 1, 0, 0, 0]


def test_interval_probability_is_one_minus_the_product_of_survivals() -> None:
    hazards = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    assert interval_probability(hazards, risk_task())[0] == pytest.approx(1 - 0.9 * 0.8 * 0.7 * 0.6)
    assert interval_probability(hazards, EARLY_TASK)[0] == pytest.approx(1 - 0.7 * 0.6 * 0.5)
    with pytest.raises(ValueError, match="must start and end"):
        interval_probability(hazards, Task("odd", 0, 45))
