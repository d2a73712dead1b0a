"""How much each kind of member counts: non-negative logistic stacking on a cohort that none of them learned from.

Legend: R rows, C members.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError

Float64 = NDArray[np.float64]

PRIOR_PRECISION: Final = 10.0
"""Pull of the weights towards equal ones, in units of a student's information: it decides where a few dozen leavers
cannot, and is lost among a thousand.
"""
_STEPS: Final = 100
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class Stack:
    """`intercept` + sum of `weights` times the members' logits; no weight is negative."""

    weights: tuple[float, ...]
    intercept: float = 0.0

    def logit(self, members: Float64) -> Float64:
        """[R] of the members' logits [R, C]."""
        return members @ np.asarray(self.weights) + self.intercept

    @classmethod
    def equal(cls, members: int) -> Self:
        """The mean of the members' logits."""
        return cls((1.0 / members,) * members)


def fit_stack(
    members: Float64, label: NDArray[np.integer], *, student: NDArray[np.integer], prior: float = PRIOR_PRECISION
) -> Stack:
    """The stack of greatest likelihood, every student counting alike, drawn to equal weights by `prior`.

    `members` [R, C] logits, `label` [R] 0 or 1, `student` [R].

    Raises:
        InvalidInputError: no rows, outcomes of one kind only, or logits that are not finite.
    """
    event = np.asarray(label) == 1
    if not len(event) or event.all() or not event.any() or not np.isfinite(members).all():
        msg = f"Members can be weighed on finite logits and outcomes of both kinds only ({len(event)} rows given): take a larger calibration cohort."
        raise InvalidInputError(msg)
    _, position, weeks = np.unique(student, return_inverse=True, return_counts=True)
    problem = _Problem(members, event.astype(np.float64), 1.0 / weeks[position], prior)
    # The best weights that are not negative are the best of those that are not zero, taken by themselves.
    found = [problem.solve(active) for active in problem.active_sets()]
    best = min((each for each in found if (each[:-1] >= 0).all()), key=problem.loss)
    return Stack(tuple(best[:-1].tolist()), float(best[-1]))


@dataclass(frozen=True)
class _Problem:
    """Weighted logistic regression with a normal prior; coefficients [C + 1], the intercept last and free."""

    members: Float64
    event: Float64
    weight: Float64
    prior: float

    def active_sets(self) -> list[NDArray[np.bool_]]:
        """All choices of members that may have weight: few, as there are few kinds of members."""
        return [np.array(chosen) for chosen in product((False, True), repeat=self.members.shape[1])]

    def loss(self, coefficients: Float64) -> float:
        """Negative log-likelihood and prior."""
        logit = self.members @ coefficients[:-1] + coefficients[-1]
        likelihood = self.weight @ (np.logaddexp(0.0, logit) - self.event * logit)
        return float(likelihood + 0.5 * self.prior * ((coefficients[:-1] - self._centre) ** 2).sum())

    def solve(self, active: NDArray[np.bool_]) -> Float64:
        """The coefficients that minimise the loss with every other weight 0, by Newton's method with halved steps."""
        found = np.append(np.where(active, self._centre, 0.0), 0.0)
        free = np.append(active, True)
        design = np.column_stack([self.members, np.ones(len(self.event))])[:, free]
        pull = np.append(np.full(int(active.sum()), self.prior), 0.0)
        centre = np.append(np.full(int(active.sum()), self._centre), 0.0)
        for _ in range(_STEPS):
            current = found[free]
            probability = 1.0 / (1.0 + np.exp(-np.clip(design @ current, -700, 700)))
            gradient = design.T @ (self.weight * (probability - self.event)) + pull * (current - centre)
            curvature = (design * (self.weight * probability * (1 - probability))[:, None]).T @ design
            step = np.asarray(np.linalg.solve(curvature + np.diag(pull + 1e-12), gradient), dtype=np.float64)
            size = self._step_size(found, free, step)
            found[free] = current - size * step
            if size * np.abs(step).max() < _TOLERANCE:
                break
        return found

    def _step_size(self, found: Float64, free: NDArray[np.bool_], step: Float64) -> float:
        """The largest halving of the step that does not raise the loss."""
        here, size = self.loss(found), 1.0
        while size > 1e-6:
            there = found.copy()
            there[free] -= size * step
            if self.loss(there) <= here:
                return size
            size /= 2
        return 0.0

    @property
    def _centre(self) -> float:
        return 1.0 / self.members.shape[1]
