"""The ABC rule of early-warning practice: attendance, behaviour, course performance."""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.rivals.levels import LevelRule

_INDICATORS: Final[tuple[tuple[str, float], ...]] = (
    ("absence_rate_ytd", 0.10),
    ("oss_days_ytd", 0.5),
    ("core_courses_failing_count", 1.0),
)
"""Feature and the value from which it counts: 10 % absent, any out-of-school suspension, one core course failing."""
_COLUMNS: Final = [FEATURE_INDEX[name] for name, _ in _INDICATORS]
_THRESHOLDS: Final = np.array([threshold for _, threshold in _INDICATORS])
_UNKNOWN: Final = 4


class AbcRule(LevelRule):
    """Number of indicators met, 0 to 3; an unknown indicator counts as not met, all unknown is a level of its own."""

    name = "abc_rule"
    n_levels: ClassVar[int] = 5

    def levels(self, last: SequenceBatch) -> NDArray[np.int64]:
        values = last.values[:, 0, _COLUMNS]
        known = np.isfinite(values)
        met = (known & (np.where(known, values, 0.0) >= _THRESHOLDS)).sum(axis=1)
        return np.where(known.any(axis=1), met, _UNKNOWN).astype(np.int64)
