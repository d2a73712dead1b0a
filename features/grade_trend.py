"""G4, the slope of the mean running course average over 8 steps of one term.

The average of an earlier step is the one made of the scores posted by then, *as they are known at the row*: a score
that was recorded late or corrected changes the past that later rows see. Where that happens the row's eight averages
are corrected by the difference; all other rows share one series.
"""

from dataclasses import dataclass

import numpy as np

from features.course_cells import Cells
from features.ragged import Bools, Floats, Ints, Numbers, expand_ranges, positions
from features.running_averages import AVERAGE_UNIT, Courses, Scores, averages
from features.steps import Steps
from features.trends import N_LAGS, Corrections, Lags, slope

MIN_WEEKS = 4


@dataclass(frozen=True)
class CourseAverages:
    """The courses of each row's own term: `average` per cell where it `exists`, and how many exist per row."""

    cells: Cells
    courses: Courses
    scores: Scores
    average: Floats
    exists: Bools
    n_courses: Ints


def course_average_trend(running: CourseAverages, steps: Steps) -> Floats:
    """[R] percentage points per instructional week; NaN with fewer than 4 weeks."""
    total, count = running.cells.sum(running.average), running.n_courses
    weeks_into_term = steps.rows - positions(steps.opens_term).take(steps.term_run)
    corrections = _corrections(running, total, steps)
    mean = total / np.maximum(count, 1)
    return slope(mean, count > 0, Lags(weeks_into_term), corrections, min_points=MIN_WEEKS) / AVERAGE_UNIT


def _late_changes(scores: Scores, stop_row: Ints) -> Scores:
    """Changes that come up after the row they are valid from, while their course is current (`stop_row` per course).

    `known` is when they come up; equal and opposite ones, as of a version that repeats a score, are cancelled.
    """
    current_until = stop_row.take(scores.course)
    counts = np.maximum(scores.valid, scores.known) < scores.stop
    added = positions(counts & (scores.known > scores.valid) & (scores.known < current_until))
    taken = positions(counts & (scores.stop < current_until))
    source = np.concatenate((added, taken))
    sign = np.concatenate((np.ones(len(added), dtype=np.int64), -np.ones(len(taken), dtype=np.int64)))
    known = np.concatenate((scores.known[added], scores.stop[taken]))
    columns = np.stack((scores.course[source], scores.valid[source], known))
    order = np.lexsort(columns[::-1])
    columns = columns[:, order]
    opens = np.ones(len(order), dtype=np.bool_)
    opens[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    start = positions(opens)

    def total(amount: Numbers) -> Numbers:
        return np.add.reduceat((amount[source] * sign)[order], start) if len(start) else np.zeros(0)

    weighted, points, count = total(scores.weighted), total(scores.points), total(scores.count)
    kept = positions((weighted != 0) | (points != 0) | (count != 0))
    course, valid, known = columns[:, start[kept]]
    return Scores(course, valid, known, known, weighted[kept], points[kept], count[kept])


def _corrections(running: CourseAverages, total: Floats, steps: Steps) -> Corrections:
    """The mean running averages that late changes make different at a later row."""
    cells, courses = running.cells, running.courses
    late = _late_changes(running.scores, cells.stop_row)
    change, row, lag = _affected(late, cells)
    own_row, course = row - lag, late.course[change]
    position = cells.position(course, own_row)
    _, index, code = np.unique(position * steps.n_rows + row, return_index=True, return_inverse=True)
    position, row, own_row, course = position[index], row[index], own_row[index], course[index]

    def summed(amount: Numbers, own: Ints) -> Numbers:
        return own[position] + np.bincount(code, weights=amount[change], minlength=len(index))

    weighted, points = summed(late.weighted, cells.weighted), summed(late.points, cells.points)
    is_current = steps.at.term[row] == courses.term[course]
    is_current &= steps.term_run[own_row] == steps.term_run[row]
    has, had = is_current & (points > 0), is_current & running.exists[position]
    more = np.where(has, averages(weighted, points), 0.0) - np.where(had, running.average[position], 0.0)
    key, code = np.unique((row - own_row) * steps.n_rows + row, return_inverse=True)
    lag, row = np.divmod(key, max(steps.n_rows, 1))
    in_term = steps.term_run[row - lag] == steps.term_run[row]
    new_total = np.bincount(code, weights=more, minlength=len(key)) + np.where(in_term, total[row - lag], 0)
    new_count = np.bincount(code, weights=has.astype(np.int64) - had, minlength=len(key))
    new_count += np.where(in_term, running.n_courses[row - lag], 0)
    return Corrections(lag, row, new_total / np.maximum(new_count, 1), new_count > 0)


def _affected(late: Scores, cells: Cells) -> tuple[Ints, Ints, Ints]:
    """(change, row, lag): rows at which a change is known while a step before it became known is among the 8."""
    change, row = expand_ranges(late.known, np.minimum(late.known + N_LAGS - 1, cells.stop_row[late.course]))
    oldest = np.maximum(np.maximum(late.valid, cells.first_row[late.course])[change], row - (N_LAGS - 1))
    source, own_row = expand_ranges(oldest, late.known[change])
    return change[source], row[source], row[source] - own_row
