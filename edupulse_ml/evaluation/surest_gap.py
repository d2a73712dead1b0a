"""The surest of the gaps between groups: the widest alone may be one small group's luck, and hide a gap that is sure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

from edupulse_ml.evaluation.bootstrap import Interval
from edupulse_ml.evaluation.figures import Figure

PairInterval: TypeAlias = Callable[[int, int, float], Interval | None]
"""Of two groups' positions and a coverage (0-1): the interval of the first's value less the second's, None without one."""


@dataclass(frozen=True)
class PairGap:
    """Positions of two groups, and the value of the higher less that of the lower."""

    higher: int
    lower: int
    gap: Figure


def surest_gap(values: Sequence[float], interval: PairInterval, *, confidence: float = 0.95) -> PairGap:
    """Of all pairs of groups, the one whose interval has the highest lower end; of those that chance could have made
    (lower end at most 0, or no interval), the widest.

    `values` holds one per group, two or more. Intervals hold for all pairs at once with `confidence` (Bonferroni), so
    that many small groups do not make a gap out of noise.
    """
    pairs = [(a, b) if values[a] >= values[b] else (b, a) for a, b in combinations(range(len(values)), 2)]
    coverage = 1 - (1 - confidence) / len(pairs)
    found = [PairGap(a, b, _figure(values[a] - values[b], interval(a, b, coverage))) for a, b in pairs]
    return max(found, key=lambda pair: (max(0.0, pair.gap.low or 0.0), pair.gap.value or 0.0))


def _figure(value: float, interval: Interval | None) -> Figure:
    return Figure(float(value)) if interval is None else Figure(float(value), interval.low, interval.high)
