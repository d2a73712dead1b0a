"""Runs of consecutive absent days of school, as known at each row.

The days of a student in a school year stand one after another as flags. A row whose past looks different from how
it looked at the time (a late or corrected record) gets its own copy of the year's flags, a *view*, valid from the row
of that change to the next one; all views are measured in one pass.
"""

from dataclasses import dataclass

import numpy as np

from features.facts import Facts
from features.ragged import Bools, Intervals, Ints, expand_ranges, merge_intervals
from features.steps import Steps


@dataclass(frozen=True)
class Streaks:
    """[R] days absent in a row up to the step's last day, and the longest run of the school year so far."""

    current: Ints
    longest: Ints


def absence_streaks(facts: Facts, day_position: Ints, is_absent: Bools, steps: Steps) -> Streaks:
    """Streaks of the days marked absent. `day_position` and `is_absent` have one entry per version."""
    absent = np.flatnonzero(is_absent[facts.source])
    position = day_position[facts.source[absent]]
    row, start, stop = facts.row[absent], facts.start[absent], facts.stop[absent]
    lasting = (start == row) & (stop == facts.end[absent])
    flags = np.zeros(steps.day_offset[-1], dtype=np.bool_)
    flags[position[lasting]] = True
    other = merge_intervals(Intervals(position[~lasting], start[~lasting], stop[~lasting]))
    row_of_day = np.repeat(steps.rows, steps.n_days)
    other_row = row_of_day[other.key]
    flags[other.key[other.start == other_row]] = True
    run, longest = _measure(flags, steps.day_offset[steps.year_start][row_of_day])
    last_day = steps.day_offset[1:] - 1
    streaks = Streaks(run[last_day], longest[last_day])
    _apply_views(streaks, flags, other, other_row, steps)
    return streaks


def _measure(flags: Bools, segment_start: Ints) -> tuple[Ints, Ints]:
    """Per day, the run of set flags that ends there, and the longest run so far, both inside the day's segment."""
    index = np.arange(len(flags))
    last_clear = np.maximum.accumulate(np.where(flags, -1, index))
    run = index - np.maximum(last_clear, segment_start - 1)
    # Segments rise, so that adding a larger offset per segment keeps the running maximum inside it.
    offset = segment_start * (len(flags) + 1)
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


def _apply_views(streaks: Streaks, flags: Bools, changes: Intervals, changed_row: Ints, steps: Steps) -> None:
    views = _views(changes, changed_row, steps)
    if not len(views.run):
        return
    first_day = steps.day_offset[steps.run_start[views.run]]
    n_days = steps.day_offset[views.stop] - first_day
    view_offset = np.concatenate(([0], np.cumsum(n_days)))
    _, day = expand_ranges(first_day, first_day + n_days)
    seen = flags[day]
    # Each changed day is set or cleared in every later view of its year; clearing first lets a successor's flag win.
    run = steps.year_run[changed_row]
    later = np.searchsorted(views.start, changed_row, side="right")
    change, view = expand_ranges(later, np.searchsorted(views.run, run, side="right"))
    target = view_offset[view] + changes.key[change] - first_day[view]
    holds = (changes.start[change] <= views.start[view]) & (views.start[view] < changes.stop[change])
    seen[target[~holds]] = False
    seen[target[holds]] = True
    current, longest = _measure(seen, np.repeat(view_offset[:-1], n_days))
    of_view, row = expand_ranges(views.start, views.stop)
    last = view_offset[of_view] + steps.day_offset[row + 1] - 1 - first_day[of_view]
    streaks.current[row] = current[last]
    streaks.longest[row] = longest[last]
