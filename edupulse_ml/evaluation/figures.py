"""A figure of a report: a number with its interval, or no number and the reason."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

POOLED: Final = "pooled"
"""All landmarks together."""
MIN_STUDENTS: Final = 10
"""Fewer are not described (sources.md 6.4: cells under 10 are suppressed)."""
TOO_FEW: Final = "too few students to say"


@dataclass(frozen=True)
class Figure:
    """A metric with its 95 % interval (None: not resampled), or no value and the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def resampled(value: float, replicates: Float64) -> Figure:
    """`value` with the central 95 % of the replicates that exist; no value where it is NaN."""
    if math.isnan(value):
        return Figure(None, reason="not defined on these students")
    valid = replicates[~np.isnan(replicates)]
    if len(valid) == 0:
        return Figure(float(value))
    low, high = np.quantile(valid, [0.025, 0.975])
    return Figure(float(value), float(low), float(high))
