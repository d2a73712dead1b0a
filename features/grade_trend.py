"""G4, the slope of the mean running course average over 8 steps of one term.

The average of an earlier step is the one made of the scores posted by then, *as they are known at the row*: a score
that was recorded late or corrected changes the past that later rows see. Where that happens the row's eight averages
are corrected by the difference; all other rows share one series.
"""

import numpy as np

from features.ragged import Bools, Floats, Ints, dense_codes, expand_ranges, slope_over_lags
from features.running_averages import AVERAGE_UNIT, Cells, Courses, Scores, averages
from features.steps import Steps

LAGS = 8
MIN_WEEKS = 4


def course_average_trend(cells: Cells, courses: Courses, scores: Scores, exists: Bools, steps: Steps) -> Floats:
    """[R] percentage points per instructional week; NaN with fewer than 4 weeks. `exists` marks cells with a current
    running average.
    """
    chosen = np.flatnonzero(exists)
    total = np.bincount(cells.row[chosen], weights=cells.average[chosen], minlength=steps.n_rows).astype(np.int64)
    count = np.bincount(cells.row[chosen], minlength=steps.n_rows)
    by_lag_total, by_lag_count = _late_differences(cells, courses, scores, steps)
    weeks_into_term = _weeks_into_term(steps)

    def series(lag: int) -> tuple[Floats, Bools]:
        lagged_total, lagged_count = by_lag_total[lag].copy(), by_lag_count[lag].copy()
        same_term = weeks_into_term >= lag
        lagged_total[lag:] += np.where(same_term[lag:], total[: max(len(total) - lag, 0)], 0)
        lagged_count[lag:] += np.where(same_term[lag:], count[: max(len(count) - lag, 0)], 0)
        return lagged_total / np.maximum(lagged_count, 1), lagged_count > 0

    return slope_over_lags((series(lag) for lag in range(LAGS)), min_points=MIN_WEEKS) / AVERAGE_UNIT


def _weeks_into_term(steps: Steps) -> Ints:
    return steps.rows - np.flatnonzero(steps.opens_term)[steps.term_run]


def _late_changes(scores: Scores, stop_row: Ints) -> Scores:
    """Changes that come up after the row they are valid from, while their course is current (`stop_row` per course).

    `known` is when they come up; equal and opposite ones, as of a version that repeats a score, are cancelled.
    """
    current_until = stop_row[scores.course]
    counts = np.maximum(scores.valid, scores.known) < scores.stop
    added = np.flatnonzero(counts & (scores.known > scores.valid) & (scores.known < current_until))
    taken = np.flatnonzero(counts & (scores.stop < current_until))
    source = np.concatenate((added, taken))
    sign = np.concatenate((np.ones(len(added), dtype=np.int64), -np.ones(len(taken), dtype=np.int64)))
    known = np.concatenate((scores.known[added], scores.stop[taken]))
    course, valid = scores.course[source], scores.valid[source]
    columns = np.stack((course, valid, known))
    order = np.lexsort(columns[::-1])
    columns = columns[:, order]
    opens = np.ones(len(order), dtype=np.bool_)
    opens[1:] = np.any(columns[:, 1:] != columns[:, :-1], axis=0)
    start = np.flatnonzero(opens)

    def total(amount: Ints) -> Ints:
        return np.add.reduceat((amount[source] * sign)[order], start) if len(start) else order

    weighted, points, count = total(scores.weighted), total(scores.points), total(scores.count)
    kept = np.flatnonzero((weighted != 0) | (points != 0) | (count != 0))
    course, valid, known = columns[:, start[kept]]
    return Scores(course, valid, known, known, weighted[kept], points[kept], count[kept])


def _late_differences(cells: Cells, courses: Courses, scores: Scores, steps: Steps) -> tuple[Ints, Ints]:
    """[8, R] what late changes add to the sum of averages and to the number of courses at each lag of each row."""
    total = np.zeros((LAGS, steps.n_rows), dtype=np.int64)
    count = np.zeros((LAGS, steps.n_rows), dtype=np.int64)
    n_cells = np.bincount(cells.course, minlength=len(courses.term))
    stop_row = cells.first_row + n_cells
    late = _late_changes(scores, stop_row)
    if not len(late.course):
        return total, count
    change, row, lag = _affected(late, cells.first_row, stop_row)
    position = cells.position(late.course[change], row - lag)
    code, distinct = dense_codes(
        (position * steps.n_rows + row), space=(int(position.max(initial=0)) + 1) * steps.n_rows
    )
    cell, at_row = distinct // steps.n_rows, distinct % steps.n_rows

    def summed(amount: Ints, own: Ints) -> Ints:
        return own[cell] + np.bincount(code, weights=amount[change], minlength=len(distinct)).astype(np.int64)

    weighted, points = summed(late.weighted, cells.weighted), summed(late.points, cells.points)
    own_row = cells.row[cell]
    is_current = steps.at.term[at_row] == courses.term[cells.course[cell]]
    is_current &= steps.term_run[own_row] == steps.term_run[at_row]
    has, had = is_current & (points > 0), is_current & (cells.points[cell] > 0)
    own_average = averages(cells.weighted[cell], cells.points[cell])
    new_average = averages(weighted, points)
    np.add.at(total, (at_row - own_row, at_row), np.where(has, new_average, 0) - np.where(had, own_average, 0))
    np.add.at(count, (at_row - own_row, at_row), has.astype(np.int64) - had)
    return total, count


def _affected(late: Scores, first_row: Ints, stop_row: Ints) -> tuple[Ints, Ints, Ints]:
    """(change, row, lag): rows at which a change is known while a step before it became known is among the 8."""
    change, row = expand_ranges(late.known, np.minimum(late.known + LAGS - 1, stop_row[late.course]))
    oldest = np.maximum(np.maximum(late.valid, first_row[late.course])[change], row - (LAGS - 1))
    source, own_row = expand_ranges(oldest, late.known[change])
    return change[source], row[source], row[source] - own_row
