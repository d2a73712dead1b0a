"""Categories of need from calibrated scores, the base rate and what the staff can attend to (sources.md 2.6)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.predictions import CategoryPolicy

LIFTS: Final[tuple[float, float, float]] = (2.0, 4.0, 8.0)
"""Moderate, high and critical start at these multiples of the base rate."""
HIGHEST_THRESHOLD: Final = 0.9


def derive_policy(
    calibrated_scores: NDArray[np.floating], *, base_rate: float, capacity_share: float = 0.05, version: str
) -> CategoryPolicy:
    """Thresholds on the calibrated `risk_score`, strictly rising.

    Critical is the top `capacity_share` of the scores as far as they reach 8 times the base rate, high starts at 4
    times and moderate at 2 times. Where 8 times the base rate would pass 0.9, the multiples are taken of the odds, so
    that the thresholds stay below 1.

    Raises:
        InvalidInputError: no scores, or a base rate or capacity outside (0, 1).
    """
    if not len(calibrated_scores) or not 0 < base_rate < 1 or not 0 < capacity_share < 1:
        msg = (
            f"A category policy needs scores ({len(calibrated_scores)} given), a base rate ({base_rate:.4f}) and a "
            f"capacity share ({capacity_share:.4f}) between 0 and 1: check the calibration cohort and the options."
        )
        raise InvalidInputError(msg)
    odds = base_rate / (1.0 - base_rate)
    if LIFTS[-1] * base_rate <= HIGHEST_THRESHOLD:
        moderate, high, critical = (lift * base_rate for lift in LIFTS)
    else:
        moderate, high, critical = (lift * odds / (1.0 + lift * odds) for lift in LIFTS)
    return CategoryPolicy(
        version=version,
        moderate_from=moderate,
        high_from=high,
        critical_from=max(critical, _capacity_threshold(calibrated_scores, capacity_share)),
    )


def _capacity_threshold(scores: NDArray[np.floating], share: float) -> float:
    """The lowest score such that at most `share` of the scores reach it."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    places = int(share * len(ordered))
    if places == 0:
        return float(np.nextafter(ordered[0], 2.0))
    lowest_in, first_out = ordered[places - 1], ordered[min(places, len(ordered) - 1)]
    if lowest_in > first_out:
        return float(lowest_in)
    # A tie straddles the limit: none of it fits.
    above = ordered[ordered > lowest_in]
    return float(above[-1] if len(above) else np.nextafter(lowest_in, 2.0))
