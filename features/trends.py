"""Earlier steps beside each row, and the slope over the last of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.ragged import Bools, Floats, Ints, positions, ratio

N_LAGS = 8
_SETS = np.arange(1 << N_LAGS)
_LAG_IN_SET = (_SETS[:, None] >> np.arange(N_LAGS)) & 1
_COUNT = _LAG_IN_SET.sum(axis=1)
_SUM_X = -(_LAG_IN_SET * np.arange(N_LAGS)).sum(axis=1)
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
    bits = exists.astype(np.uint8)
    sum_y = np.zeros(len(values))
    sum_xy = np.zeros(len(values))
    present = np.zeros(len(values), dtype=np.uint8)
    for lag, corrected in enumerate(corrections.of_lag):
        y, bit = lags.shifted(values, lag), lags.shifted(bits, lag)
        rows = corrections.row[corrected]
        y[rows] = np.where(corrections.exists[corrected], corrections.value[corrected], 0.0)
        bit[rows] = corrections.exists[corrected]
        sum_y += y
        y *= lag
        sum_xy -= y
        present |= bit << np.uint8(lag)
    count, sum_x = _COUNT.take(present), _SUM_X.take(present)
    spread = np.where(count >= min_points, count * _SUM_XX.take(present) - sum_x * sum_x, 0)
    return ratio(count * sum_xy - sum_x * sum_y, spread)
