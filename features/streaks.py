"""Runs of consecutive absent days of school, as known at each row.

Only the absent days are laid out, each as its position among all enrolled days of school: days in a row have
consecutive positions. A row whose past looks different from how it looked at the time (a late or corrected record)
gets its own copy of the year's absent days, a *view*, valid from the row of that change to the next one; all views are
measured in one pass.
"""

from dataclasses import dataclass

import numpy as np

from features.facts import Facts
from features.ragged import Bools, Intervals, Ints, expand_ranges, merge_intervals, positions
from features.steps import Steps


@dataclass(frozen=True)
class Streaks:
    """[R] days absent in a row up to the step's last day, and the longest run of the school year so far."""

    current: Ints
    longest: Ints


@dataclass(frozen=True)
class _AbsentDays:
    """Absent days, rising, and the row of each; of the first `n_until[r]` the last is the latest up to row r."""

    position: Ints
    row: Ints
    n_until: Ints


def absence_streaks(facts: Facts, day_position: Ints, is_absent: Bools, steps: Steps) -> Streaks:
    """Streaks of the days marked absent. `day_position` and `is_absent` have one entry per version."""
    row_of_day = np.full(steps.day_offset[-1], -1, dtype=np.int64)
    lasting = positions(is_absent & (facts.lasting_row < steps.n_rows))
    row_of_day[day_position[lasting]] = facts.lasting_row[lasting]
    others = facts.others
    chosen = positions(is_absent[others.source])
    position, row = day_position[others.source[chosen]], others.row[chosen]
    changes = merge_intervals(Intervals(position, others.start[chosen], others.stop[chosen]))
    changed_row = _values_at(changes.key, position, row)
    timely = changes.start == changed_row
    row_of_day[changes.key[timely]] = changed_row[timely]
    position = positions(row_of_day >= 0)
    row = row_of_day.take(position)
    days = _AbsentDays(position, row, np.bincount(row, minlength=steps.n_rows).cumsum())
    streaks = _of_rows(days, steps)
    _apply_views(streaks, days, changes, changed_row, steps)
    return streaks


def _values_at(key: Ints, among: Ints, values: Ints) -> Ints:
    """The value of each key, which all occur `among` the keys of the values."""
    order = among.argsort()
    return values[order[among.searchsorted(key, sorter=order)]]


def _of_rows(days: _AbsentDays, steps: Steps) -> Streaks:
    run, longest = _measure(days.position, steps.year_run.take(days.row))
    last = days.n_until - 1
    exists = last >= 0
    last = np.maximum(last, 0)
    exists &= np.append(days.row, -1).take(last) >= steps.year_start
    ends_now = exists & (np.append(days.position, -1).take(last) == steps.day_offset[1:] - 1)
    return Streaks(
        np.where(ends_now, np.append(run, 0).take(last), 0),
        np.where(exists, np.append(longest, 0).take(last), 0),
    )


def _measure(position: Ints, segment: Ints) -> tuple[Ints, Ints]:
    """Per absent day, the days in a row that end with it, and the longest run so far, both inside its segment."""
    index = np.arange(len(position))
    opens = np.ones(len(position), dtype=np.bool_)
    opens[1:] = (position[1:] != position[:-1] + 1) | (segment[1:] != segment[:-1])
    run = index - np.maximum.accumulate(np.where(opens, index, 0)) + 1
    # Segments rise, so that adding a larger offset per segment keeps the running maximum inside it.
    offset = segment * (len(position) + 1)
    return run, np.maximum.accumulate(run + offset) - offset


@dataclass(frozen=True)
class _Views:
    """Views of the past: of the year run `run`, valid in rows start <= r < stop. Sorted by run and start."""

    run: Ints
    start: Ints
    stop: Ints


def _views(changes: Intervals, changed_row: Ints, steps: Steps) -> _Views:
    year_stop = steps.year_stop[changed_row]
    begins, ends = changes.start > changed_row, changes.stop > changed_row
    at = np.concatenate((changes.start[begins], changes.stop[ends]))
    limit = np.concatenate((year_stop[begins], year_stop[ends]))
    start = np.unique(at[at < limit])
    run = steps.year_run[start]
    stop = steps.run_stop[run]
    stop[:-1] = np.where(run[1:] == run[:-1], start[1:], stop[:-1])
    return _Views(run, start, stop)


def _apply_views(streaks: Streaks, days: _AbsentDays, changes: Intervals, changed_row: Ints, steps: Steps) -> None:
    views = _views(changes, changed_row, steps)
    if not len(views.run):
        return
    # A day of a view is one number; the gap of one keeps the last day of a view from touching the next view's first.
    span = steps.day_offset[-1] + 1
    seen = _days_seen(views, days, changes, changed_row, span=span, steps=steps)
    view = seen // span
    run, longest = _measure(seen, view)
    of_view, row = expand_ranges(views.start, views.stop)
    last = seen.searchsorted(of_view * span + steps.day_offset.take(row + 1)) - 1
    exists = (last >= 0) & (np.append(view, -1).take(last) == of_view)
    ends_now = exists & (np.append(seen, -1).take(last) == of_view * span + steps.day_offset.take(row + 1) - 1)
    streaks.current[row] = np.where(ends_now, np.append(run, 0).take(last), 0)
    streaks.longest[row] = np.where(exists, np.append(longest, 0).take(last), 0)


def _days_seen(
    views: _Views, days: _AbsentDays, changes: Intervals, changed_row: Ints, *, span: int, steps: Steps
) -> Ints:
    """The absent days of the year that each view sees up to its last row, as `view * span + position`, rising."""
    n_before = np.append(0, days.n_until)
    view, index = expand_ranges(n_before[steps.run_start[views.run]], n_before[views.stop])
    seen = view * span + days.position.take(index)
    # Each changed day is looked at in every later view of its year: it is taken out, and put back where it holds.
    later = views.start.searchsorted(changed_row, side="right")
    change, view = expand_ranges(later, views.run.searchsorted(steps.year_run[changed_row], side="right"))
    changed = view * span + changes.key[change]
    holds = (changes.start[change] <= views.start[view]) & (views.start[view] < changes.stop[change])
    at = seen.searchsorted(changed)
    kept = np.ones(len(seen) + 1, dtype=np.bool_)
    kept[at[np.append(seen, -1)[at] == changed]] = False
    return np.sort(np.concatenate((seen[kept[:-1]], changed[holds])))
