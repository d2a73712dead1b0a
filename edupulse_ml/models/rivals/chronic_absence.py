"""The chronic-absence rule: the federal tiers of the year's absence rate."""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.rivals.levels import LevelRule

_TIER: Final = FEATURE_INDEX["chronic_absence_tier"]
_UNKNOWN: Final = 4


class ChronicAbsence(LevelRule):
    """Tier 0 to 3 (below 5, 10, 20 % and above); an unknown tier is a level of its own."""

    name = "chronic_absence"
    n_levels: ClassVar[int] = 5

    def levels(self, last: SequenceBatch) -> NDArray[np.int64]:
        tier = last.values[:, 0, _TIER]
        known = np.isfinite(tier)
        return np.where(known, np.clip(np.rint(np.where(known, tier, 0.0)), 0, 3), _UNKNOWN).astype(np.int64)
