"""Ragged ranges, disjoint intervals, codes and ratios: array operations without a loop over students."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Numbers = NDArray[np.integer | np.float64]
"""Whole numbers, as integers or as floats that `bincount` need not convert."""


def positions(flags: NDArray[np.generic]) -> Ints:
    """Where the flags are set, or the numbers are not 0."""
    return flags.nonzero()[0]


def changes(values: Ints) -> Bools:
    """Where a value differs from the one before; the first one always does."""
    out = np.ones(len(values), dtype=np.bool_)
    out[1:] = values[1:] != values[:-1]
    return out


def expand_ranges(start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """All members of the half-open ranges: (which range, member), ranges in order. Empty where stop <= start."""
    length = np.maximum(stop - start, 0)
    stop_at = length.cumsum()
    source = np.arange(len(start)).repeat(length)
    return source, np.arange(len(source)) + (start - stop_at + length).take(source)


@dataclass(frozen=True)
class Intervals:
    """Half-open intervals [start, stop) of rows, each about one `key`."""

    key: Ints
    start: Ints
    stop: Ints


def merge_intervals(intervals: Intervals) -> Intervals:
    """The union per key: intervals that overlap or touch become one. Sorted by key, then start."""
    if not len(intervals.key):
        return intervals
    order = np.lexsort((intervals.start, intervals.key))
    key, start, stop = intervals.key[order], intervals.start[order], intervals.stop[order]
    step = int(stop.max()) + 1
    group = np.concatenate(([0], (key[1:] != key[:-1]).astype(np.int64).cumsum()))
    reach = np.maximum.accumulate(stop + group * step) - group * step
    opens = np.ones(len(key), dtype=np.bool_)
    opens[1:] = (key[1:] != key[:-1]) | (start[1:] > reach[:-1])
    first = positions(opens)
    last = np.append(first[1:], len(key)) - 1
    return Intervals(key[first], start[first], reach[last])


def dense_codes(key: Ints, *, space: int) -> tuple[Ints, Ints]:
    """Code 0.. of each key in rising order of the keys, and the distinct keys. Keys lie in 0..space-1."""
    if space <= 16 * len(key) + 65_536:
        present = np.zeros(space, dtype=np.bool_)
        present[key] = True
        distinct = positions(present)
        code = np.empty(space, dtype=np.int64)
        code[distinct] = np.arange(len(distinct))
        return code.take(key), distinct
    distinct, code = np.unique(key, return_inverse=True)
    return code, distinct


def ratio(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    """`numerator / denominator`, NaN where the denominator is 0."""
    return np.divide(numerator, np.where(denominator != 0, denominator, np.nan))
