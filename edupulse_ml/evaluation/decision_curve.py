"""Decision curve: is acting on the scores worth more than acting on everybody, nobody, or a simple rule?

Net benefit at a threshold p is the share of student-weeks flagged rightly, less p / (1 - p) times the share flagged
wrongly: whoever would rather offer support to (1 - p) / p students in vain than miss one who leaves flags at p (Vickers
and Elkin 2006, "Decision curve analysis"). Legend: B rows, C students, H thresholds, R replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.bootstrap import cluster_weights
from edupulse_ml.evaluation.figures import MIN_STUDENTS, TOO_FEW
from edupulse_ml.evaluation.metrics import Float64, Labels

THRESHOLDS: Final[tuple[float, ...]] = tuple(round(0.01 * step, 2) for step in range(2, 31))
"""sources.md 4.2: .02 to .30."""
TREAT_ALL: Final = "treat_all"
TREAT_NONE: Final = "treat_none"


@dataclass(frozen=True)
class NetBenefit:
    """One strategy at each threshold: net benefit per student-week with its 95 % interval, and the champion's minus
    this one's on the same draws of students. All of the length of the curve's thresholds.
    """

    strategy: str
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    champion_minus: tuple[float, ...]
    champion_minus_low: tuple[float, ...]
    champion_minus_high: tuple[float, ...]


@dataclass(frozen=True)
class DecisionCurve:
    """Pooled net benefit of every strategy on one task; no strategies where `reason` says why."""

    task: str
    champion: str
    thresholds: tuple[float, ...]
    strategies: tuple[NetBenefit, ...]
    reason: str | None = None

    def strategy(self, name: str) -> NetBenefit | None:
        """One strategy, None where the curve does not hold it."""
        return next((entry for entry in self.strategies if entry.strategy == name), None)

    def beats(self, name: str) -> bool | None:
        """Whether the champion's net benefit is above the strategy's at every threshold; None where that is not known."""
        entry = self.strategy(name)
        return None if entry is None else all(difference > 0 for difference in entry.champion_minus)


def net_benefit(label: Labels, flagged: NDArray[np.bool_], *, threshold: float) -> float:
    """Net benefit per row of these flags; 0 without rows."""
    right, wrong = int((flagged & (label == 1)).sum()), int((flagged & (label == 0)).sum())
    return (right - wrong * threshold / (1 - threshold)) / max(len(label), 1)


def decision_curve(
    label: Labels,
    scores: Mapping[str, Float64],
    student: NDArray[np.integer],
    *,
    task: str,
    champion: str,
    replicates: int,
    seed: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> DecisionCurve:
    """The curve of every strategy in `scores` [B], the champion among them, and of flagging all and none.

    A strategy flags where its score is at or above the threshold; give a rule as scores of 0 and 1. `student` [B] names
    whose rows are drawn together. Nothing is told of fewer than ten students.
    """
    names, position = np.unique(student, return_inverse=True)
    if len(names) < MIN_STUDENTS:
        return DecisionCurve(task, champion, tuple(thresholds), (), reason=TOO_FEW)
    everything = {**scores, TREAT_ALL: np.ones(len(label)), TREAT_NONE: np.zeros(len(label))}
    worth = {name: _worth(label, score, position, thresholds) for name, score in everything.items()}
    n_rows = np.bincount(position).astype(np.float64)
    drawn: dict[str, list[Float64]] = {name: [] for name in worth}
    for weight_CR in cluster_weights(len(names), replicates=replicates, seed=seed):
        rows_R = n_rows @ weight_CR
        for name, worth_HC in worth.items():
            drawn[name].append(worth_HC @ weight_CR / rows_R)
    values = {name: worth_HC.sum(axis=1) / len(label) for name, worth_HC in worth.items()}
    draws = {name: np.concatenate(parts, axis=1) for name, parts in drawn.items()}
    return DecisionCurve(
        task,
        champion,
        tuple(thresholds),
        tuple(
            _strategy(name, values[name], draws[name], values[champion] - values[name], draws[champion] - draws[name])
            for name in worth
        ),
    )


def _worth(label: Labels, score: Float64, student: NDArray[np.integer], thresholds: Sequence[float]) -> Float64:
    """[H, C] summed over each student's rows: right flags less the price of wrong ones."""
    worth = []
    for threshold in thresholds:
        # The price as a fraction of the reward; nobody's score is compared with anybody's.
        per_row = np.where(label == 1, 1.0, -threshold / (1 - threshold)) * (score >= threshold)
        worth.append(np.bincount(student, weights=per_row))
    return np.stack(worth)


def _strategy(name: str, value: Float64, draws: Float64, difference: Float64, differences: Float64) -> NetBenefit:
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    worse, better = np.quantile(differences, [0.025, 0.975], axis=1)
    return NetBenefit(name, *(tuple(map(float, column)) for column in (value, low, high, difference, worse, better)))
