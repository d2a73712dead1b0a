"""Tests that may be looked at every day: evidence as the wealth of a bettor against "no difference".

A bettor who starts with 1 and stakes a fixed share of his wealth on each observation of a fair game has, on average, 1
at any time, and reaches 1/alpha at any time with a probability of at most alpha (Ville 1939). Here several bettors play
side by side, with stakes from small to large, and their mean wealth is the evidence (Waudby-Smith and Ramdas 2024,
"Estimating means of bounded random variables by betting", with a mixture in place of an adaptive stake; for forecasts,
Choe and Ramdas 2023, "Comparing sequential forecasters"). It holds for any distribution within the bounds.

Legend: N observations in a fixed order (last axis), K stakes.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError

Float64 = NDArray[np.float64]
Side = Literal["positive", "negative", "open"]

ALPHA: Final = 0.05
STAKES: Final = tuple(np.geomspace(0.005, 0.95, 16).tolist())
"""Shares of the greatest safe stake, from one that suits an effect of a hundredth of the bound to one for a large effect."""
_BISECTIONS: Final = 30


@dataclass(frozen=True)
class Evidence:
    """What N observations say of their mean against 0, at any time of looking.

    `for_positive` and `for_negative`: the most evidence that was reached so far, an e-value each (1: none; 20 would
    happen by chance in one series of 20). `side`: what can be said at level `alpha`, both directions together: the
    direction that had enough evidence first, which nothing that comes later takes back or turns round. `low` and `high`:
    a confidence sequence, which holds the mean at all times together with probability 1 - alpha; None where the bounds
    differ from observation to observation.
    """

    n: int
    mean: float | None
    for_positive: float
    for_negative: float
    side: Side
    alpha: float
    low: float | None = None
    high: float | None = None


def mean_evidence(x_N: Float64, *, alpha: float = ALPHA) -> Evidence:
    """Evidence on the mean of observations in [-1, 1], in the order in which they became known.

    The level holds if, given all before it, no observation's expectation lies on the other side of 0.

    Raises:
        InvalidInputError: an observation lies outside [-1, 1].
    """
    if len(x_N) and not (np.abs(x_N) <= 1.0).all():
        msg = "A sequential test of a mean needs observations between -1 and 1."
        raise InvalidInputError(msg)
    up_N, down_N = log_wealth(x_N, loss=1.0), log_wealth(-x_N, loss=1.0)
    low, high = _lower_limit(x_N, alpha=alpha), -_lower_limit(-x_N, alpha=alpha)
    return Evidence(
        n=len(x_N),
        mean=float(x_N.mean()) if len(x_N) else None,
        for_positive=_most(up_N),
        for_negative=_most(down_N),
        side=_side(up_N, down_N, alpha=alpha),
        alpha=alpha,
        low=low,
        high=high,
    )


def share_evidence(is_in_N: NDArray[np.bool_], share_N: Float64, *, alpha: float = ALPHA) -> Evidence:
    """Evidence that events fall into a group more (positive) or less (negative) often than the share (0-1) of all who
    were drawn into it at random, which may differ from observation to observation.

    Raises:
        InvalidInputError: a share is not strictly between 0 and 1.
    """
    if len(share_N) and not ((share_N > 0.0) & (share_N < 1.0)).all():
        msg = "A sequential test of a share needs expected shares strictly between 0 and 1."
        raise InvalidInputError(msg)
    x_N = is_in_N.astype(np.float64) - share_N
    up_N, down_N = log_wealth(x_N, loss=share_N), log_wealth(-x_N, loss=1.0 - share_N)
    return Evidence(
        n=len(x_N),
        mean=float(x_N.mean()) if len(x_N) else None,
        for_positive=_most(up_N),
        for_negative=_most(down_N),
        side=_side(up_N, down_N, alpha=alpha),
        alpha=alpha,
    )


def log_wealth(x_N: Float64, *, loss: Float64 | float) -> Float64:
    """[..., N] logarithm of the bettors' mean wealth after each observation; `loss` bounds what one can lose by: x is
    nowhere below -loss.
    """
    stakes_K = np.asarray(STAKES)
    relative_N = x_N / loss
    growth_KN = np.cumsum(np.log1p(stakes_K.reshape(-1, *([1] * x_N.ndim)) * relative_N), axis=-1)
    return np.logaddexp.reduce(growth_KN, axis=0) - np.log(len(stakes_K))


def most_wealth(x_N: Float64, *, loss: Float64 | float) -> float:
    """The most that the bettors had at any time, 1 at the start included."""
    return _most(log_wealth(x_N, loss=loss))


def _most(log_wealth_N: Float64) -> float:
    return float(np.exp(np.minimum(log_wealth_N.max(initial=0.0), 700.0)))


def _side(up_N: Float64, down_N: Float64, *, alpha: float) -> Side:
    """The direction whose log wealth was enough first. No observation lets both grow, so they are never enough at once."""
    needed = np.log(2.0 / alpha)  # each direction gets half of the level
    first_up, first_down = (_first(wealth_N >= needed) for wealth_N in (up_N, down_N))
    if first_up == first_down:
        return "open"
    return "positive" if first_up < first_down else "negative"


def _first(is_enough_N: NDArray[np.bool_]) -> int:
    """Position of the first True; the length where there is none."""
    return int(is_enough_N.argmax()) if is_enough_N.any() else len(is_enough_N)


def _lower_limit(x_N: Float64, *, alpha: float) -> float:
    """The greatest mean that the bettors refute from above; their wealth falls as the mean that they bet against grows."""
    low, high = -1.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if most_wealth(x_N - middle, loss=1.0 + middle) >= 2.0 / alpha:
            low = middle
        else:
            high = middle
    return low
