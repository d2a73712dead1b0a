"""Earlier steps beside each row, and the slope over the last of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.ragged import Bools, Floats, Ints, positions, ratio

N_LAGS = 8
_SETS = np.arange(1 << N_LAGS)
_LAG_IN_SET = (_SETS[:, None] >> np.arange(N_LAGS)) & 1
_COUNT = _LAG_IN_SET.sum(axis=1)
_SUM_X = -(_LAG_IN_SET * np.arange(N_LAGS)).sum(axis=1)
LATEST_OF_SET = _LAG_IN_SET.argmax(axis=1)
"""The lowest lag of each set of lags, 0 for the empty set. A set is a number whose bit l is lag l."""
_SUM_XX = (_LAG_IN_SET * np.arange(N_LAGS) ** 2).sum(axis=1)


class Lags:
    """Shifts columns of shape [R] inside the stretches of rows that `into` counts from 0: school years or terms."""

    def __init__(self, into: Ints) -> None:
        self._into = into
        self._begun_since: dict[int, Ints] = {}

    def shifted(self, column: np.ndarray, lag: int) -> np.ndarray:
        """[..., R] the entry `lag` rows before each row; 0 where that is in another stretch."""
        if not lag:
            return column.copy()
        if lag not in self._begun_since:
            self._begun_since[lag] = positions(self._into < lag)
        out = np.empty_like(column)
        out[..., lag:] = column[..., :-lag]
        out[..., self._begun_since[lag]] = 0
        return out


def recent_steps(flags: Bools, lags: Lags, lag: Ints, row: Ints, corrected: Bools) -> NDArray[np.uint8]:
    """[R] the set of lags among the last 8 steps of the stretch at which the flag is set, or is `corrected` to be."""
    bits = flags.astype(np.uint8)
    out = bits.copy()
    for n in range(1, N_LAGS):
        out |= lags.shifted(bits, n) << np.uint8(n)
    np.bitwise_and.at(out, row, ~(np.uint8(1) << lag.astype(np.uint8)))
    np.bitwise_or.at(out, row, corrected.astype(np.uint8) << lag.astype(np.uint8))
    return out


@dataclass(frozen=True)
class Corrections:
    """What the entry `lag` steps before some rows is instead, as known at these rows. Each (lag, row) occurs once."""

    lag: Ints
    row: Ints
    value: Floats
    exists: Bools

    @cached_property
    def of_lag(self) -> list[Ints]:
        """Positions by lag."""
        return [positions(self.lag == lag) for lag in range(N_LAGS)]


def slope(values: Floats, exists: Bools, lags: Lags, corrections: Corrections, *, min_points: int) -> Floats:
    """[R] ordinary least squares slope per step over the last 8 steps of the stretch. `values` count where they
    `exist`, each as corrected. NaN with fewer than `min_points` values (at least 2).
    """
    values = np.where(exists, values, 0.0)
    corrected = np.where(corrections.exists, corrections.value, 0.0)
    present = recent_steps(exists, lags, corrections.lag, corrections.row, corrections.exists)
    sum_y = np.zeros(len(values))
    sum_xy = np.zeros(len(values))
    for lag, changed in enumerate(corrections.of_lag):
        y = lags.shifted(values, lag)
        y[corrections.row[changed]] = corrected[changed]
        sum_y += y
        y *= lag
        sum_xy -= y
    count, sum_x = _COUNT.take(present), _SUM_X.take(present)
    spread = np.where(count >= min_points, count * _SUM_XX.take(present) - sum_x * sum_x, 0)
    return ratio(count * sum_xy - sum_x * sum_y, spread)
