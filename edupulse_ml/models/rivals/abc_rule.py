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
INDICATOR_COLUMNS: Final = [FEATURE_INDEX[name] for name, _ in _INDICATORS]
_THRESHOLDS: Final = np.array([threshold for _, threshold in _INDICATORS])
_UNKNOWN: Final = 4


class AbcRule(LevelRule):
    """Number of indicators met, 0 to 3; an unknown indicator counts as not met, all unknown is a level of its own."""

    name = "abc_rule"
    n_levels: ClassVar[int] = 5

    def levels(self, last: SequenceBatch) -> NDArray[np.int64]:
        met, known = self.conditions(last)
        return self.level_of(met, unknown=none_of(known))

    def conditions(self, last: SequenceBatch) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[B, 3] which indicators are met, and which are known."""
        values = last.values[:, 0, INDICATOR_COLUMNS]
        known = np.isfinite(values)
        return known & (np.where(known, values, 0.0) >= _THRESHOLDS), known

    def level_of(self, met: NDArray[np.bool_], *, unknown: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[B] level of those who meet these indicators [B, 3]; `unknown` [B] are those of whom none is known."""
        return np.where(unknown, _UNKNOWN, met.sum(axis=1)).astype(np.int64)


def none_of(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[B] rows of [B, 3] without any True."""
    return np.asarray(known.sum(axis=1) == 0)
