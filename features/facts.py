"""Facts about steps and sums of them, exact under late and corrected records.

A fact holds of one step (its row) and is known from one row of the student until it is superseded. Row r of a window
sum adds the facts of the steps in the window that are known at r. Nearly all facts are known at their own step and
never superseded: these are summed once per step and windows are differences of a running sum. Every other fact is
one or two *late changes*, "the amount of step `row` changes by `amount` from row `at` on", which are spread over the
rows they concern. All amounts are integers, so that sums do not depend on the order of records and cancel exactly.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.weeks import NEVER
from features.ragged import Bools, Floats, Ints, expand_ranges, positions
from features.steps import Steps

_FEW: Final = 4
"""Late changes are added row by row where they concern fewer than one row in so many."""


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
    cell = steps.cell(student)
    end = steps.end(student)
    stop = end.copy()
    superseded = positions(superseded_day != NEVER)
    stop[superseded] = steps.at_or_after(cell[superseded], superseded_day[superseded])
    return Versions(student=student, cell=cell, known=steps.at_or_after(cell, known_day), stop=stop, end=end)


@dataclass(frozen=True)
class StepSums:
    """Amounts per step, as known at each row: `base[..., v]` plus the late changes of step v that came up to the row.

    Shapes: `base` [R] of one amount, [K, R] of several; `late_amount` [L] or [K, L]. All sums have the shape of `base`.
    """

    steps: Steps
    base: Ints
    late_row: Ints
    late_at: Ints
    late_amount: Ints

    def window(self, first_lag: int, last_lag: int) -> Ints:
        """Sum over the steps `first_lag` to `last_lag` before each row, inside the school year."""
        steps, running = self.steps, self._running
        upper = running[..., 1:] if not first_lag else running.take(steps.back(first_lag - 1), axis=-1)
        out = upper - running.take(steps.back(last_lag), axis=-1)
        if len(self.late_row):
            start = np.maximum(self.late_at, self.late_row + first_lag)
            self._add_late(out, start, np.minimum(self.late_row + last_lag + 1, self._late_until))
        return out

    def year_to_date(self) -> Ints:
        """Sum over the steps of the school year so far."""
        running = self._running
        out = running[..., 1:] - running.take(self.steps.year_start, axis=-1)
        self._add_late(out, self.late_at, self._late_until)
        return out

    def lag(self, lag: int) -> Ints:
        """The amount of the step `lag` before each row; 0 where that is in another school year."""
        out = self.steps.year_lags.shifted(self.base, lag)
        if len(self.late_row):
            row = self.late_row + lag
            known = positions((self.late_at <= row) & (row < self._late_until))
            _add_at(out, row[known], self.late_amount[..., known])
        return out

    def late_by_lag(self, n_lags: int) -> tuple[Ints, Ints, Ints]:
        """(lag, row, amount): what late changes add to the amount of the step `lag` before a row, up to `n_lags` - 1."""
        change, row = expand_ranges(self.late_at, np.minimum(self.late_row + n_lags, self._late_until))
        return row - self.late_row[change], row, self.late_amount[..., change]

    def prior_year(self) -> Ints:
        """Sum over the steps of the school year before, 0 where the student had none."""
        steps, running = self.steps, self._running
        follows = runs_that_follow(steps)
        of_run = np.zeros((*self.base.shape[:-1], len(follows)), dtype=np.int64)
        total = running.take(steps.run_stop, axis=-1) - running.take(steps.run_start, axis=-1)
        of_run[..., 1:] = np.where(follows[1:], total[..., :-1], 0)
        out = of_run.take(steps.year_run, axis=-1)
        if len(self.late_row):
            following = steps.year_run[self.late_row] + 1
            exists = np.concatenate((follows, [False]))[following]
            following = np.where(exists, following, 0)
            start = np.maximum(self.late_at, steps.run_start[following])
            self._add_late(out, start, np.where(exists, steps.run_stop[following], 0))
        return out

    @cached_property
    def _running(self) -> Ints:
        out = np.zeros((*self.base.shape[:-1], self.base.shape[-1] + 1), dtype=np.int64)
        self.base.cumsum(axis=-1, out=out[..., 1:])
        return out

    @cached_property
    def _late_until(self) -> Ints:
        """Row after the school year of each late change."""
        return self.steps.year_stop[self.late_row]

    def _add_late(self, sums: Ints, start: Ints, stop: Ints) -> None:
        """Add each late change in the rows start <= r < stop."""
        if not len(self.late_row):
            return
        n_rows = self.steps.n_rows
        if np.maximum(stop - start, 0).sum() * _FEW < n_rows:
            change, row = expand_ranges(start, stop)
            _add_at(sums, row, self.late_amount[..., change])
            return
        for one_sum, amount in _one_by_one(sums, self.late_amount):
            np.add(one_sum, spread(start, stop, amount, n_rows=n_rows), out=one_sum)


def _add_at(sums: Ints, row: Ints, amount: Ints) -> None:
    """Add amounts [..., L] to sums [..., R] at the rows [L]."""
    for one_sum, added in _one_by_one(sums, amount):
        np.add.at(one_sum, row, added)


def _one_by_one(sums: Ints, amount: Ints) -> Iterable[tuple[Ints, Ints]]:
    return [(sums, amount)] if sums.ndim == 1 else zip(sums, amount, strict=True)


@dataclass(frozen=True)
class Spells:
    """Facts that count in rows `start` <= r < `stop`, with the versions they come from (`source`)."""

    source: Ints
    row: Ints
    start: Ints
    stop: Ints
    end: Ints

    def where(self, keep: Bools) -> "Spells":
        """Some of them."""
        return Spells(self.source[keep], self.row[keep], self.start[keep], self.stop[keep], self.end[keep])


@dataclass(frozen=True)
class Facts:
    """Facts, at most one per version. `lasting_row` [E] is the step of a fact that is known from that step on and
    never superseded, and R for every other version; `others` are the facts that come late or are superseded.
    """

    steps: Steps
    lasting_row: Ints
    others: Spells

    def since(self, start: Ints, versions: Versions) -> "Facts":
        """The same facts of the `versions`, counted from row `start` [E] on where that is later."""
        is_late = start > self.lasting_row
        late, others = positions(is_late), self.others
        end = versions.end[late]
        every = Spells(
            source=np.concatenate((others.source, late)),
            row=np.concatenate((others.row, self.lasting_row[late])),
            start=np.concatenate((np.maximum(others.start, start[others.source]), start[late])),
            stop=np.concatenate((others.stop, end)),
            end=np.concatenate((others.end, end)),
        )
        lasting_row = np.where(is_late, self.steps.n_rows, self.lasting_row)
        return Facts(self.steps, lasting_row, every.where(every.start < every.stop))

    def of(self, chosen: Bools) -> "Facts":
        """The facts of the chosen versions, which are numbered 0.. from now on."""
        versions = positions(chosen)
        others = self.others.where(chosen[self.others.source])
        number = versions.searchsorted(others.source)
        return Facts(self.steps, self.lasting_row.take(versions), replace(others, source=number))

    @cached_property
    def _changes(self) -> tuple[Ints, Ints, Ints]:
        """Of `others`: those known at their own step, those that become known later, those that are superseded."""
        others = self.others
        timely = others.start == others.row
        return positions(timely), positions(~timely), positions(others.stop < others.end)

    def total(self, amount: Ints | Floats | Bools | None = None) -> StepSums:
        """Sum of `amount`, one per version the facts were made of, or the number of facts."""
        timely, late, replaced = self._changes
        base = self._base(amount)
        of_other = self._of_others(amount)
        np.add.at(base, self.others.row[timely], of_other[timely])
        return self._sums(base, np.concatenate((of_other[late], -of_other[replaced])))

    def totals(self, *amounts: Ints | Floats | Bools | None) -> StepSums:
        """Sums of several amounts, in this order."""
        timely, late, replaced = self._changes
        base = np.stack([self._base(amount) for amount in amounts])
        of_other = np.stack([self._of_others(amount) for amount in amounts])
        _add_at(base, self.others.row[timely], of_other[:, timely])
        return self._sums(base, np.concatenate((of_other[:, late], -of_other[:, replaced]), axis=1))

    @cached_property
    def _bins(self) -> Ints:
        """`lasting_row` as `bincount` wants it."""
        return self.lasting_row.astype(np.intp)

    def _base(self, amount: Ints | Floats | Bools | None) -> Ints:
        n_rows = self.steps.n_rows
        base = np.bincount(self._bins, weights=amount, minlength=n_rows + 1)[:n_rows]
        return base if amount is None else base.astype(np.int64)

    def _of_others(self, amount: Ints | Floats | Bools | None) -> Ints:
        source = self.others.source
        return np.ones(len(source), dtype=np.int64) if amount is None else amount[source].astype(np.int64)

    def _sums(self, base: Ints, late_amount: Ints) -> StepSums:
        _, late, replaced = self._changes
        others = self.others
        late_row = np.concatenate((others.row[late], others.row[replaced]))
        late_at = np.concatenate((others.start[late], others.stop[replaced]))
        counts = positions(late_amount if late_amount.ndim == 1 else np.logical_or.reduce(late_amount != 0))
        return StepSums(self.steps, base, late_row[counts], late_at[counts], late_amount[..., counts])


def facts_of(steps: Steps, versions: Versions, *, row: Ints, keep: Bools | None = None) -> Facts:
    """Facts of step `row`, one per version, for the versions to `keep`.

    A fact counts from its step or its version's known row, whichever is later, until the version is superseded. Facts
    that never count are dropped.
    """
    begin = np.maximum(row, versions.known)
    counts = begin < versions.stop
    if keep is not None:
        counts &= keep
    lasting = counts & (begin == row)
    lasting &= versions.stop == versions.end
    source = positions(counts ^ lasting)
    others = Spells(source, row[source], begin[source], versions.stop[source], versions.end[source])
    return Facts(steps, np.where(lasting, row, steps.n_rows), others)


def spread(start: Ints, stop: Ints, amount: Ints, *, n_rows: int) -> Ints:
    """[R] sum of the amounts whose range start <= r < stop holds the row."""
    counts = positions(start < stop)
    if not len(counts):
        return np.zeros(n_rows, dtype=np.int64)
    at = np.concatenate((start[counts], stop[counts]))
    change = np.bincount(at, weights=np.concatenate((amount[counts], -amount[counts])), minlength=n_rows)
    return change[:n_rows].astype(np.int64).cumsum()


def runs_that_follow(steps: Steps) -> Bools:
    """Per run of one student in one school year: the run before it is the same student's preceding school year."""
    student = steps.at.student[steps.run_start]
    year = steps.at.school_year[steps.run_start]
    out = np.zeros(len(student), dtype=np.bool_)
    out[1:] = (student[1:] == student[:-1]) & (year[1:] == year[:-1] + 1)
    return out
