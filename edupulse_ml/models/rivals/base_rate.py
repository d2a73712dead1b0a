"""Everyone gets the rate of their grade and time of year."""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.norms_fit import N_GRADES, N_WEEKS, grade_index, week_index
from edupulse_ml.models.rivals.levels import LevelRule

WEEKS_PER_LEVEL: Final = 4
_PERIODS: Final = -(-N_WEEKS // WEEKS_PER_LEVEL)


class BaseRate(LevelRule):
    """Event rate per grade level and four weeks of the school year; it ranks students no better than that."""

    name = "base_rate"
    n_levels: ClassVar[int] = (N_GRADES + 1) * _PERIODS

    def levels(self, last: SequenceBatch) -> NDArray[np.int64]:
        period = week_index(last.week_of_school_year[:, 0]) // WEEKS_PER_LEVEL
        return grade_index(last.grade_level[:, 0]) * _PERIODS + period
