"""How far a distribution has moved from the training cohort's, and whether chance explains it.

Legend: R reference rows, N current rows, K bins. Rows of one student are alike, so the sizes that chance is judged by
are numbers of students, never of student-weeks.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, kstwobign, norm

Float64 = NDArray[np.float64]

_SMOOTHING: Final = 0.5
"""Students added to every bin, so that an empty one weighs little instead of infinitely much."""


def bin_edges(reference_R: Float64, *, bins: int) -> Float64:
    """Inner edges of at most `bins` bins that hold about equally many reference rows; fewer where one value is frequent.
    A value lies in the bin whose upper edge is the first one at or above it.
    """
    return np.unique(np.quantile(reference_R, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))


def shares(values: Float64, edges: Float64, *, weights: Float64) -> Float64:
    """[K] share of the weight in each bin."""
    position = np.searchsorted(edges, values, side="left")
    counts = np.bincount(position, weights=weights, minlength=len(edges) + 1)
    return counts / counts.sum()


def stability_index(reference_K: Float64, current_K: Float64, *, reference_n: int, current_n: int) -> float:
    """Population stability index of two distributions over the same bins, of so many students each.

    Its expectation without any change, (K - 1)(1/R + 1/N), is taken off (Yurdakul and Naranjo 2020, "Statistical
    properties of the population stability index"); never below 0.
    """
    raw = raw_stability_index(reference_K, current_K, reference_n=reference_n, current_n=current_n)
    return max(0.0, raw - (len(reference_K) - 1) * (1 / reference_n + 1 / current_n))


def raw_stability_index(reference_K: Float64, current_K: Float64, *, reference_n: int, current_n: int) -> float:
    """The sum of (current - reference) log(current / reference) over the bins, each with half a student added."""
    bins = len(reference_K)
    reference = (reference_K * reference_n + _SMOOTHING) / (reference_n + bins * _SMOOTHING)
    current = (current_K * current_n + _SMOOTHING) / (current_n + bins * _SMOOTHING)
    return float(np.sum((current - reference) * np.log(current / reference)))


def stability_chance(raw_index: float, *, bins: int, reference_n: int, current_n: int) -> float:
    """Probability of so large an index without any change: the index over (1/R + 1/N) is chi-square with K - 1 degrees
    of freedom (Yurdakul and Naranjo 2020). 1 where there is one bin only.
    """
    if bins < 2:
        return 1.0
    return float(chi2.sf(raw_index / (1 / reference_n + 1 / current_n), bins - 1))


def ks_distance(
    reference_R: Float64, current_N: Float64, *, reference_weights: Float64, current_weights: Float64
) -> float:
    """Largest difference of the two weighted distribution functions (Kolmogorov-Smirnov)."""
    points = np.unique(np.concatenate([reference_R, current_N]))
    return float(
        np.abs(
            _distribution(reference_R, reference_weights, points) - _distribution(current_N, current_weights, points)
        ).max()
    )


def ks_chance(distance: float, *, reference_n: int, current_n: int) -> float:
    """Probability of so large a distance without any change, for large samples; too high where values are tied."""
    return float(kstwobign.sf(distance * np.sqrt(reference_n * current_n / (reference_n + current_n))))


def rise_chance(reference_share: float, current_share: float, *, reference_n: int, current_n: int) -> float:
    """Probability of a share so much higher without any change (one-sided test of two proportions)."""
    pooled = (reference_share * reference_n + current_share * current_n) / (reference_n + current_n)
    error = np.sqrt(pooled * (1 - pooled) * (1 / reference_n + 1 / current_n))
    if error == 0.0:
        return 1.0
    return float(norm.sf((current_share - reference_share) / error))


def holm(chances: Sequence[float]) -> list[float]:
    """The probabilities adjusted so that the chance of any false alarm among them stays below the one asked for
    (Holm 1979).
    """
    order = np.argsort(chances, kind="stable")
    ordered = np.asarray(chances, np.float64)[order]
    adjusted = np.minimum(1.0, np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))
    result = np.empty(len(ordered))
    result[order] = adjusted
    return result.tolist()


def _distribution(values: Float64, weights: Float64, points: Float64) -> Float64:
    order = np.argsort(values, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(weights[order])])
    return cumulative[np.searchsorted(values[order], points, side="right")] / cumulative[-1]
