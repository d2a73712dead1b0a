"""Outcomes (real events) and the questions asked about them.

An outcome is a dated event, never a function of features (sources.md 2.6). A question (`Task`) is "does the event
fall in (start, end] days after the cutoff, given that it has not happened by `start`?".
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.weeks import NEVER

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]

HAZARD_EDGES_DAYS: Final[tuple[int, ...]] = (0, 30, 60, 90, 180, 365)
"""Interval k of the discrete-time hazard is (edge k, edge k+1] days after the cutoff (sources.md 2.6)."""
N_HAZARDS: Final = len(HAZARD_EDGES_DAYS) - 1


@dataclass(frozen=True)
class Outcomes:
    """What is known about the leaving of N students at one moment (`as_of_day`).

    `event_day` [N] is the onset, the last day attended, `NEVER` where no event is known.
    `followed_until` [N] is the last day through which it is known that no event happened (transfer, graduation, end
    of data); beyond it the outcome is censored, not negative. For students with an event it equals `event_day`.
    `as_of_day` is the last day on which either answer could be known for everyone still followed: questions that reach
    beyond it are unanswered for all, events included, since otherwise only leavers would be counted.
    """

    event_day: Int32
    followed_until: Int32
    as_of_day: int

    def select(self, students: Int32) -> "Outcomes":
        """The outcomes at these positions (a position may repeat)."""
        return Outcomes(self.event_day[students], self.followed_until[students], self.as_of_day)


@dataclass(frozen=True)
class Task:
    """A question: event in (start_day, end_day] after the cutoff, among those without event up to `start_day`."""

    name: str
    start_day: int
    end_day: int


LABEL_UNKNOWN: Final = -1


def task_labels(outcomes: Outcomes, *, cutoff_day: Int32, task: Task) -> NDArray[np.int8]:
    """[B] 1 event in the interval, 0 known not to be, `LABEL_UNKNOWN` where the row is no fair example.

    `outcomes` must already be selected to one entry per row. Not fair: the event is not after the cutoff (the
    terminal-absence rule, sources.md 2.5.2), it falls at or before `start_day`, follow-up ends before `end_day`
    without an event, or the interval ends after `outcomes.as_of_day`.
    """
    event_after = outcomes.event_day.astype(np.int64) - cutoff_day
    followed = outcomes.followed_until.astype(np.int64) - cutoff_day
    has_event = outcomes.event_day != NEVER
    labels = np.full(len(cutoff_day), LABEL_UNKNOWN, dtype=np.int8)
    labels[followed >= task.end_day] = 0
    labels[has_event & (event_after > task.end_day)] = 0
    labels[has_event & (event_after <= task.end_day)] = 1
    labels[has_event & (event_after <= task.start_day)] = LABEL_UNKNOWN
    labels[outcomes.as_of_day - cutoff_day.astype(np.int64) < task.end_day] = LABEL_UNKNOWN
    return labels


def hazard_targets(outcomes: Outcomes, *, cutoff_day: Int32) -> tuple[Float32, Float32]:
    """Targets and weights of the discrete-time hazards, both [B, K].

    `target[b, k]` is 1 if the event falls in interval k. `weight[b, k]` is 1 where the student is known to be at risk
    through the interval (or has the event in it), else 0; all 0 where the event is not after the cutoff, and 0 for
    intervals that end after `outcomes.as_of_day`.
    """
    event_after = (outcomes.event_day.astype(np.int64) - cutoff_day)[:, None]
    followed = (outcomes.followed_until.astype(np.int64) - cutoff_day)[:, None]
    has_event = (outcomes.event_day != NEVER)[:, None]
    low = np.asarray(HAZARD_EDGES_DAYS[:-1])[None, :]
    high = np.asarray(HAZARD_EDGES_DAYS[1:])[None, :]
    target = has_event & (event_after > low) & (event_after <= high)
    survived = np.where(has_event, event_after > high, followed >= high)
    fair = ~(has_event & (event_after <= 0))
    answerable = outcomes.as_of_day - cutoff_day.astype(np.int64)[:, None] >= high
    return target.astype(np.float32), ((target | survived) & fair & answerable).astype(np.float32)


def interval_probability(hazards: NDArray[np.floating], task: Task) -> NDArray[np.float64]:
    """P(event in (start, end] | none by start) from hazards [..., K]; shape [...].

    `task.start_day` and `task.end_day` must be edges of `HAZARD_EDGES_DAYS`; an end beyond the last edge is read as
    the last edge.

    Raises:
        ValueError: the interval does not start or end at an edge.
    """
    end_day = min(task.end_day, HAZARD_EDGES_DAYS[-1])
    if task.start_day not in HAZARD_EDGES_DAYS or end_day not in HAZARD_EDGES_DAYS:
        msg = f"task {task.name} must start and end at one of {HAZARD_EDGES_DAYS}"
        raise ValueError(msg)
    first, last = HAZARD_EDGES_DAYS.index(task.start_day), HAZARD_EDGES_DAYS.index(end_day)
    surviving = np.prod(1.0 - hazards[..., first:last].astype(np.float64), axis=-1)
    return 1.0 - surviving


EARLY_TASK: Final = Task("risk_60plus", 60, 365)
"""The early-warning score: leaves in 61 to 365 days, given not within 60."""


def risk_task(horizon_days: int = 180) -> Task:
    """The headline score: leaves within `horizon_days`."""
    return Task("risk_score", 0, horizon_days)
