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

from features.ragged import Bools, Floats, Ints, expand_ranges
from features.steps import Steps


@dataclass(frozen=True)
class Versions:
    """When E versions of records are known: rows `known` <= r < `stop` of `student`. `stop` equals `end` while the
    version has no successor in the student's rows. `cell`: see `Steps.cell`.
    """

    student: Ints
    cell: Ints
    known: Ints
    stop: Ints
    end: Ints


def versions_of(
    steps: Steps, *, student: NDArray[np.int32], known_day: NDArray[np.int32], superseded_day: NDArray[np.int32]
) -> Versions:
    """Rows in which each version is known."""
    index = student.astype(np.int64)
    cell = steps.cell(index)
    return Versions(
        student=index,
        cell=cell,
        known=steps.at_or_after(cell, known_day),
        stop=steps.at_or_after(cell, superseded_day),
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
        steps, running = self.steps, self._running
        upper = running[1:] if not first_lag else running.take(steps.back(first_lag - 1))
        out = upper - running.take(steps.back(last_lag))
        start = np.maximum(self.late_at, self.late_row + first_lag)
        stop = np.minimum(self.late_row + last_lag + 1, steps.year_stop[self.late_row])
        return self._with_late(out, start, stop)

    def year_to_date(self) -> Ints:
        """[R] sum over the steps of the school year so far."""
        steps, running = self.steps, self._running
        out = running[1:] - running.take(steps.year_start)
        return self._with_late(out, self.late_at, steps.year_stop[self.late_row])

    def lag(self, lag: int) -> Ints:
        """[R] the amount of the step `lag` before each row; 0 where that is in another school year."""
        steps = self.steps
        out = steps.year_lags.shifted(self.base, lag)
        if len(self.late_row):
            row = self.late_row + lag
            known = (self.late_at <= row) & (row < steps.year_stop[self.late_row])
            np.add.at(out, row[known], self.late_amount[known])
        return out

    def late_by_lag(self, n_lags: int) -> tuple[Ints, Ints, Ints]:
        """(lag, row, amount): what late changes add to the amount of the step `lag` before a row, up to `n_lags` - 1."""
        until = np.minimum(self.late_row + n_lags, self.steps.year_stop[self.late_row])
        change, row = expand_ranges(self.late_at, until)
        return row - self.late_row[change], row, self.late_amount[change]

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
        return self._with_late(of_run.take(steps.year_run), start, stop)

    @cached_property
    def _running(self) -> Ints:
        out = np.zeros(len(self.base) + 1, dtype=np.int64)
        np.cumsum(self.base, out=out[1:])
        return out

    def _with_late(self, sums: Ints, start: Ints, stop: Ints) -> Ints:
        if len(self.late_row):
            sums += spread(start, stop, self.late_amount, n_rows=self.steps.n_rows)
        return sums


@dataclass(frozen=True)
class Spells:
    """Facts that count in rows `start` <= r < `stop`, in the order of the versions they come from (`source`)."""

    source: Ints
    row: Ints
    start: Ints
    stop: Ints
    end: Ints

    def where(self, keep: Bools, *, source: Ints) -> "Spells":
        """Some of them, as made of other versions."""
        return Spells(source, self.row[keep], self.start[keep], self.stop[keep], self.end[keep])


@dataclass(frozen=True)
class Facts:
    """Facts, at most one per version. `lasting_row` [E] is the step of a fact that is known from that step on and
    never superseded, and R for every other version; `others` are the facts that come late or are superseded.
    """

    steps: Steps
    lasting_row: Ints
    others: Spells

    def of(self, versions: Ints) -> "Facts":
        """The facts of some versions, rising, which are numbered 0.. from now on."""
        number = np.searchsorted(versions, self.others.source)
        kept = np.append(versions, -1)[number] == self.others.source
        return Facts(self.steps, self.lasting_row.take(versions), self.others.where(kept, source=number[kept]))

    @cached_property
    def _changes(self) -> tuple[Ints, Ints, Ints]:
        """Of `others`: those known at their own step, those that become known later, those that are superseded."""
        others = self.others
        timely = others.start == others.row
        return np.flatnonzero(timely), np.flatnonzero(~timely), np.flatnonzero(others.stop < others.end)

    def total(self, amount: Ints | Floats | Bools | None = None) -> StepSums:
        """Sum of `amount`, one per version the facts were made of, or the number of facts."""
        n_rows, others = self.steps.n_rows, self.others
        base = np.bincount(self.lasting_row, weights=amount, minlength=n_rows + 1)[:n_rows].astype(np.int64)
        timely, late, replaced = self._changes
        changing = np.concatenate((late, replaced))
        of_other = (
            np.ones(len(others.source), dtype=np.int64) if amount is None else amount[others.source].astype(np.int64)
        )
        np.add.at(base, others.row[timely], of_other[timely])
        late_amount = of_other[changing]
        late_amount[len(late) :] *= -1
        late_at = np.concatenate((others.start[late], others.stop[replaced]))
        counts = np.flatnonzero(late_amount)
        return StepSums(
            steps=self.steps,
            base=base,
            late_row=others.row[changing[counts]],
            late_at=late_at[counts],
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
        np.maximum(begin, start, out=begin)
    counts = begin < versions.stop
    if keep is not None:
        counts &= keep
    lasting = counts & (begin == row)
    lasting &= versions.stop == versions.end
    source = np.flatnonzero(counts ^ lasting)
    others = Spells(source, row[source], begin[source], versions.stop[source], versions.end[source])
    return Facts(steps, np.where(lasting, row, steps.n_rows), others)


def spread(start: Ints, stop: Ints, amount: Ints, *, n_rows: int) -> Ints:
    """[R] sum of the amounts whose range start <= r < stop holds the row."""
    counts = np.flatnonzero(start < stop)
    if not len(counts):
        return np.zeros(n_rows, dtype=np.int64)
    at = np.concatenate((start[counts], stop[counts]))
    change = np.bincount(at, weights=np.concatenate((amount[counts], -amount[counts])), minlength=n_rows)
    return np.cumsum(change[:n_rows].astype(np.int64))


def runs_that_follow(steps: Steps) -> Bools:
    """Per run of one student in one school year: the run before it is the same student's preceding school year."""
    student = steps.at.student[steps.run_start]
    year = steps.at.school_year[steps.run_start]
    out = np.zeros(len(student), dtype=np.bool_)
    out[1:] = (student[1:] == student[:-1]) & (year[1:] == year[:-1] + 1)
    return out
