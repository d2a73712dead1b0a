"""Facts about steps and sums of them, exact under late and corrected records.

A fact holds of one step (its row) and is known from one row of the student until it is superseded. Row r of a window
sum adds the facts of the steps in the window that are known at r. Nearly all facts are known at their own step and
never superseded: these are summed once per step and windows are differences of a running sum. Every other fact is
one or two *late changes*, "the amount of step `row` changes by `amount` from row `at` on", which are spread over the
rows they concern. All amounts are integers, so that sums do not depend on the order of records and cancel exactly.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.ragged import Bools, Ints
from features.steps import Steps


@dataclass(frozen=True)
class Versions:
    """When E versions of records are known: rows `known` <= r < `stop` of `student`. `stop` equals `end` while the
    version has no successor in the student's rows.
    """

    student: Ints
    known: Ints
    stop: Ints
    end: Ints


def versions_of(
    steps: Steps, *, student: NDArray[np.int32], known_day: NDArray[np.int32], superseded_day: NDArray[np.int32]
) -> Versions:
    """Rows in which each version is known."""
    index = student.astype(np.int64)
    return Versions(
        student=index,
        known=steps.at_or_after(index, known_day),
        stop=steps.at_or_after(index, superseded_day),
        end=steps.end(index),
    )


@dataclass(frozen=True)
class StepSums:
    """An amount per step, as known at each row: `base[v]` plus the late changes of step v that came up to the row."""

    steps: Steps
    base: Ints
    late_row: Ints
    late_at: Ints
    late_amount: Ints

    def window(self, first_lag: int, last_lag: int) -> Ints:
        """[R] sum over the steps `first_lag` to `last_lag` before each row, inside the school year."""
        steps = self.steps
        low = np.maximum(steps.rows - last_lag, steps.year_start)
        high = np.maximum(steps.rows - first_lag + 1, steps.year_start)
        running = self._running
        start = np.maximum(self.late_at, self.late_row + first_lag)
        stop = np.minimum(self.late_row + last_lag + 1, steps.year_stop[self.late_row])
        return running[high] - running[low] + self._spread(start, stop)

    def year_to_date(self) -> Ints:
        """[R] sum over the steps of the school year so far."""
        steps = self.steps
        running = self._running
        total = running[1:] - running[steps.year_start]
        return total + self._spread(self.late_at, steps.year_stop[self.late_row])

    def lag(self, lag: int) -> Ints:
        """[R] the amount of the step `lag` before each row; 0 where that is in another school year."""
        steps = self.steps
        out = np.zeros_like(self.base)
        out[lag:] = self.base[: max(len(out) - lag, 0)]
        out[steps.weeks_into_year < lag] = 0
        if len(self.late_row):
            row = self.late_row + lag
            known = (self.late_at <= row) & (row < steps.year_stop[self.late_row])
            np.add.at(out, row[known], self.late_amount[known])
        return out

    def prior_year(self) -> Ints:
        """[R] sum over the steps of the school year before, 0 where the student had none."""
        steps = self.steps
        running = self._running
        total = running[steps.run_stop] - running[steps.run_start]
        follows = runs_that_follow(steps)
        of_run = np.zeros_like(total)
        of_run[1:] = np.where(follows[1:], total[:-1], 0)
        following = steps.year_run[self.late_row] + 1
        exists = following < len(follows)
        exists[exists] = follows[following[exists]]
        following = np.where(exists, following, 0)
        start = np.maximum(self.late_at, steps.run_start[following])
        stop = np.where(exists, steps.run_stop[following], 0)
        return of_run[steps.year_run] + self._spread(start, stop)

    @cached_property
    def _running(self) -> Ints:
        return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(self.base)))

    def _spread(self, start: Ints, stop: Ints) -> Ints:
        return spread(start, stop, self.late_amount, n_rows=self.steps.n_rows)


@dataclass(frozen=True)
class Facts:
    """Facts, in the order of the versions they come from. `source` says which version each is taken from."""

    steps: Steps
    source: Ints
    row: Ints
    start: Ints
    stop: Ints
    end: Ints

    @cached_property
    def _timely(self) -> tuple[Ints, Ints]:
        """Versions and steps of the facts that are known at their own step."""
        timely = self.start == self.row
        return self.source[timely], self.row[timely]

    @cached_property
    def _late(self) -> tuple[Ints, Ints]:
        """Facts that become known after their step, and facts that are superseded."""
        return np.flatnonzero(self.start > self.row), np.flatnonzero(self.stop < self.end)

    def total(self, amount: Ints | None = None) -> StepSums:
        """Sum of `amount`, one per version the facts were made of, or the number of facts."""
        source, row = self._timely
        late, replaced = self._late
        changing = np.concatenate((late, replaced))
        if amount is None:
            base = np.bincount(row, minlength=self.steps.n_rows)
            late_amount = np.ones(len(changing), dtype=np.int64)
        else:
            base = np.bincount(row, weights=amount[source], minlength=self.steps.n_rows).astype(np.int64)
            late_amount = amount[self.source[changing]]
        late_amount[len(late) :] *= -1
        counts = late_amount != 0
        return StepSums(
            steps=self.steps,
            base=base,
            late_row=self.row[changing][counts],
            late_at=np.concatenate((self.start[late], self.stop[replaced]))[counts],
            late_amount=late_amount[counts],
        )


def facts_of(
    steps: Steps, versions: Versions, *, row: Ints, start: Ints | None = None, keep: Bools | None = None
) -> Facts:
    """Facts of step `row`, one per version, for the versions to `keep`.

    A fact counts from its step, its version's known row and `start`, whichever is last, until the version is
    superseded. Facts that never count are dropped.
    """
    begin = np.maximum(row, versions.known)
    if start is not None:
        begin = np.maximum(begin, start)
    counts = begin < versions.stop
    if keep is not None:
        counts &= keep
    source = np.flatnonzero(counts)
    return Facts(steps, source, row[source], begin[source], versions.stop[source], versions.end[source])


def spread(start: Ints, stop: Ints, amount: Ints, *, n_rows: int) -> Ints:
    """[R] sum of the amounts whose range start <= r < stop holds the row."""
    counts = np.flatnonzero(start < stop)
    if not len(counts):
        return np.zeros(n_rows, dtype=np.int64)
    change = np.bincount(start[counts], weights=amount[counts], minlength=n_rows + 1)
    change -= np.bincount(stop[counts], weights=amount[counts], minlength=n_rows + 1)
    return np.cumsum(change[:n_rows].astype(np.int64))


def runs_that_follow(steps: Steps) -> Bools:
    """Per run of one student in one school year: the run before it is the same student's preceding school year."""
    student = steps.at.student[steps.run_start]
    year = steps.at.school_year[steps.run_start]
    out = np.zeros(len(student), dtype=np.bool_)
    out[1:] = (student[1:] == student[:-1]) & (year[1:] == year[:-1] + 1)
    return out
