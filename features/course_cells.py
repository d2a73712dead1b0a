"""Sums of each course of a student in a term at rows of that student.

A *span* is a student in a term with the rows from the first to the last one at which that term is looked at. A *cell*
is one course at one row of its span. The cells stand in *slabs*: slab j holds the j-th course of every span that has
so many, spans with many courses first, each with all its rows. So each slab is as long as the ones before it or
shorter, and what is summed over the courses of a row is a sum of slabs.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from features.ragged import Ints, expand_ranges, positions
from features.running_averages import Courses, Scores
from features.steps import Steps


@dataclass(frozen=True)
class Cells:
    """Sums per cell, as known at its row. Per course: its first cell, and the rows of its span (none: 0 to 0).

    `course` lists the courses in the order of the cells, `n_rows` how many cells each has. `place` is the position in
    the first slab of each row that was asked for; behind its end where the term has no course.
    """

    offset: Ints
    first_row: Ints
    stop_row: Ints
    course: Ints
    n_rows: Ints
    bounds: list[int]
    place: Ints
    weighted: Ints
    points: Ints
    count: Ints

    def position(self, course: Ints, row: Ints) -> Ints:
        """Cell of a course at a row of its span."""
        return self.offset[course] + row - self.first_row[course]

    def of_course(self, column: np.ndarray) -> np.ndarray:
        """What holds of each course, per cell."""
        return column.take(self.course).repeat(self.n_rows)

    def sum(self, amount: np.ndarray) -> np.ndarray:
        """Per row that was asked for, the sum over the courses of the term; of flags, how many are set."""
        addends = amount.astype(np.int32) if amount.dtype == np.bool_ else amount
        out = np.zeros(self.bounds[1] + 1, dtype=addends.dtype)
        for start, stop in pairwise(self.bounds):
            out[: stop - start] += addends[start:stop]
        return out.take(self.place).astype(np.int64)

    def least(self, amount: np.ndarray) -> np.ndarray:
        """Per row that was asked for, the least amount of the courses of the term; infinite without any."""
        out = np.full(self.bounds[1] + 1, np.inf)
        for start, stop in pairwise(self.bounds):
            np.minimum(out[: stop - start], amount[start:stop], out=out[: stop - start])
        return out.take(self.place)


def cells_of(courses: Courses, scores: Scores, steps: Steps, *, rows: Ints, term: Ints) -> Cells:
    """The courses of `term` at each of the `rows`, rising; one term is asked for at a row."""
    key = courses.key_of(steps.at.student[rows], term)
    first_row, stop_row = (np.zeros(len(courses.start), dtype=np.int64) for _ in range(2))
    # Of several values for one key the last is kept.
    first_row[key[::-1]] = rows[::-1]
    stop_row[key] = rows + 1
    n_courses = np.diff(courses.start, append=courses.start[-1])
    span = positions((stop_row > 0) & (n_courses > 0))
    span = span[(-n_courses[span]).argsort(kind="stable")]
    number, course = expand_ranges(courses.start[span], courses.start[span] + n_courses[span])
    rank = course - courses.start[span][number]
    by_rank = (rank.astype(np.min_scalar_type(int(rank.max(initial=0))))).argsort(kind="stable")
    course, own_span = course[by_rank], span[number[by_rank]]
    n_rows = stop_row[own_span] - first_row[own_span]
    stop_cell = n_rows.cumsum()
    slab_ends = np.append(0, stop_cell)[np.append(0, np.bincount(rank, minlength=1).cumsum())]
    place = np.full(len(courses.start), slab_ends[1], dtype=np.int64)
    place[span] = (stop_cell - n_rows)[: len(span)]
    has_course = place.take(key) < slab_ends[1]
    laid_out = _LaidOut(
        course=course,
        start_cell=stop_cell - n_rows,
        n_rows=n_rows,
        offset=_per_course(courses, course, stop_cell - n_rows),
        first_row=_per_course(courses, course, first_row[own_span]),
        stop_row=_per_course(courses, course, stop_row[own_span]),
    )
    weighted, points, count = laid_out.sums(scores)
    return Cells(
        offset=laid_out.offset,
        first_row=laid_out.first_row,
        stop_row=laid_out.stop_row,
        course=course,
        n_rows=n_rows,
        bounds=slab_ends.tolist(),
        place=np.where(has_course, place.take(key) + rows - first_row.take(key), slab_ends[1]),
        weighted=weighted,
        points=points,
        count=count,
    )


def scores_for_later_rows(cells: Cells, courses: Courses, scores: Scores, *, key: Ints, rows: Ints) -> Scores:
    """The scores of the courses of some keys as they change the sums at `rows`, rising, one key each.

    Where the rows stand behind the course's span in `cells`, all that is summed up there is one score: few scores
    come up later.
    """
    asked_from, asked_until = (np.zeros(len(courses.start), dtype=np.int64) for _ in range(2))
    asked_from[key[::-1]] = rows[::-1]
    asked_until[key] = rows + 1
    per_key = courses.start[1:] - courses.start[:-1]
    first, until = asked_from[:-1].repeat(per_key), asked_until[:-1].repeat(per_key)
    is_closed = (cells.stop_row > 0) & (cells.stop_row <= first)
    behind = np.where(is_closed, cells.stop_row, 0)
    begin = np.maximum(scores.valid, scores.known)
    limit = behind.take(scores.course)
    is_asked = (until > 0).take(scores.course)
    coming = positions(is_asked & (begin >= limit))
    going = positions(is_asked & (begin < np.minimum(limit, scores.stop)) & (scores.stop >= limit))
    going = going[scores.stop[going] < until[scores.course[going]]]
    closed = positions(is_closed & (until > 0))
    last_cell = cells.position(closed, cells.stop_row[closed] - 1)
    from_start, never = np.zeros(len(closed), dtype=np.int64), np.full(len(closed) + len(going), rows[-1] + 1)
    return Scores(
        course=np.concatenate((closed, scores.course[coming], scores.course[going])),
        valid=np.concatenate((from_start, scores.valid[coming], scores.stop[going])),
        known=np.concatenate((from_start, scores.known[coming], scores.stop[going])),
        stop=np.concatenate((never[: len(closed)], scores.stop[coming], never[len(closed) :])),
        weighted=np.concatenate((cells.weighted[last_cell], scores.weighted[coming], -scores.weighted[going])),
        points=np.concatenate((cells.points[last_cell], scores.points[coming], -scores.points[going])),
        count=np.concatenate((cells.count[last_cell], scores.count[coming], -scores.count[going])),
    )


def _per_course(courses: Courses, course: Ints, values: Ints) -> Ints:
    out = np.zeros(len(courses.term), dtype=np.int64)
    out[course] = values
    return out


@dataclass(frozen=True)
class _LaidOut:
    """Where the cells of the courses are. `offset`, `first_row`, `stop_row` by course; the others in cell order."""

    course: Ints
    start_cell: Ints
    n_rows: Ints
    offset: Ints
    first_row: Ints
    stop_row: Ints

    def sums(self, scores: Scores) -> list[Ints]:
        """Weighted scores, points and number of scores per cell."""
        first, until = self.first_row.take(scores.course), self.stop_row.take(scores.course)
        shift = (self.offset - self.first_row).take(scores.course)
        start = np.maximum(np.maximum(scores.valid, scores.known), first)
        counts = start < np.minimum(scores.stop, until)
        n_cells = int(self.n_rows.sum())
        opening = np.where(counts, start + shift, n_cells)
        closed = positions(counts & (scores.stop < until))
        closing = scores.stop[closed] + shift[closed]
        return [
            self._running(opening, closing, amount, amount[closed], n_cells=n_cells)
            for amount in (scores.weighted, scores.points, scores.count)
        ]

    def _running(self, opening: Ints, closing: Ints, amount: np.ndarray, taken: np.ndarray, *, n_cells: int) -> Ints:
        change = np.bincount(opening, weights=amount, minlength=n_cells + 1)[:n_cells].astype(np.int64)
        np.subtract.at(change, closing, taken.astype(np.int64))
        # A course begins at 0: it takes back what the course before it ends with.
        ends = change.cumsum()[self.start_cell + self.n_rows - 1]
        change[self.start_cell[1:]] -= np.diff(ends, prepend=0)[:-1]
        return change.cumsum(out=change)
