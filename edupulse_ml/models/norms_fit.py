"""Statistics by grade (level or band) and week of the school year, smoothed over weeks, with fallback to wider groups.

Legend: R rows (student-weeks), G grade levels or bands, W weeks of the school year, V variables.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

N_GRADES: Final = 14
"""Grade levels 0 (kindergarten) to 13."""
N_WEEKS: Final = 61
"""Weeks 0 (unknown) to 60 of a school year; later weeks count as the last."""
SMOOTHING_WEEKS: Final = 2

GRADE_BANDS: Final[tuple[int, ...]] = (0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2)
"""Band of each grade level: elementary 0-5, middle 6-8, high 9-13."""
N_BANDS: Final = 3


@dataclass(frozen=True)
class Moments:
    """Counts, sums and sums of squares of the known values per group and week, each [G+1, W, V], smoothed.

    The last group pools all; `overall` [3, V] holds the three sums over everything, unsmoothed.
    """

    count: Float64
    total: Float64
    squares: Float64
    overall: Float64


def grade_index(grade_level: NDArray[np.integer]) -> Int64:
    """Row of a table by grade; an unknown grade takes the last row, which pools all grades."""
    grades = grade_level.astype(np.int64)
    return np.where((grades >= 0) & (grades < N_GRADES), grades, N_GRADES)


def band_index(grade_level: NDArray[np.integer]) -> Int64:
    """Row of a table by grade band; an unknown grade takes the last row, which pools all bands."""
    bands = np.array([*GRADE_BANDS, N_BANDS])
    return bands[grade_index(grade_level)]


def week_index(week_of_year: NDArray[np.integer]) -> Int64:
    """Column of a table by week of the school year."""
    return np.clip(week_of_year.astype(np.int64), 0, N_WEEKS - 1)


def moments(values_RV: NDArray[np.floating], *, group: Int64, week: Int64, n_groups: int) -> Moments:
    """Sums per (group, week) over finite values, smoothed over weeks; row `n_groups` pools every group."""
    cell = group * N_WEEKS + week
    cells, variables = (n_groups + 1) * N_WEEKS, values_RV.shape[1]
    count, total, squares = (np.zeros((n_groups + 1, N_WEEKS, variables)) for _ in range(3))
    for column in range(variables):
        value = values_RV[:, column].astype(np.float64)
        known = np.isfinite(value)
        cell_known, value = cell[known], value[known]
        for target, weight in ((count, None), (total, value), (squares, value * value)):
            sums = np.bincount(cell_known, weights=weight, minlength=cells).reshape(n_groups + 1, N_WEEKS)
            target[:, :, column] = sums
    for table in (count, total, squares):
        table[n_groups] = table.sum(axis=0)
    overall = np.stack([table[n_groups].sum(axis=0) for table in (count, total, squares)])
    return Moments(_smooth(count), _smooth(total), _smooth(squares), overall)


def _smooth(table_GWV: Float64) -> Float64:
    """Sum over the weeks within `SMOOTHING_WEEKS`."""
    width = SMOOTHING_WEEKS
    padded = np.pad(table_GWV, ((0, 0), (width + 1, width), (0, 0)))
    cumulative = padded.cumsum(axis=1)
    return cumulative[:, 2 * width + 1 :] - cumulative[:, : -(2 * width + 1)]


def mean_table(sums: Moments, *, minimum: int) -> Float64:
    """[G+1, W, V] means; a cell with fewer than `minimum` values takes the mean of all groups in that week, then the
    mean of all groups and weeks, then NaN (never observed).
    """
    mean = _ratio(sums.total, sums.count)
    weekly = np.where(sums.count[-1:] >= minimum, mean[-1:], _ratio(sums.overall[1], sums.overall[0]))
    return np.where(sums.count >= minimum, mean, weekly)


def deviation_table(sums: Moments, *, minimum: int, floor_share: float) -> Float64:
    """[G+1, W, V] standard deviations with the fallback of `mean_table`, at least `floor_share` of the global one.

    Infinite where a variable was constant or never observed, so that dividing by it removes the variable: nothing
    can have been learned about it.
    """
    overall = _deviation(*sums.overall)
    deviation = _deviation(sums.count, sums.total, sums.squares)
    weekly = np.where(sums.count[-1:] >= minimum, deviation[-1:], overall)
    chosen = np.where(sums.count >= minimum, deviation, weekly)
    floored = np.maximum(np.nan_to_num(chosen, nan=0.0), floor_share * np.nan_to_num(overall, nan=0.0))
    return np.where(floored > 1e-6, floored, np.inf)


def _ratio(numerator: Float64, denominator: Float64) -> Float64:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _deviation(count: Float64, total: Float64, squares: Float64) -> Float64:
    mean = _ratio(total, count)
    variance = _ratio(squares, count) - mean * mean
    # Rounding leaves a tiny variance where a column is constant.
    negligible = variance <= 1e-9 * np.maximum(mean * mean, 1e-9)
    return np.sqrt(np.where(negligible, 0.0, variance))
