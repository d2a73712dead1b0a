"""The answer of a model that can be served."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import Float32


@dataclass(frozen=True)
class Scores:
    """Answers for B examples."""

    risk_score: NDArray[np.float64]
    """[B] calibrated P(leaves within the horizon)."""
    risk_60plus: NDArray[np.float64]
    """[B] calibrated P(leaves in 61 to 365 days | not within 60)."""
    hazards: NDArray[np.float64]
    """[B, K] uncalibrated hazards of the intervals of `HAZARD_EDGES_DAYS`; [B, 0] of a strategy that has none."""
    attention: Float32
    """[B, T] weight of each week, 0 at padding and everywhere for a strategy that has none; what the model looked at, not
    a reason."""
