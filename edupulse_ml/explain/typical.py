"""The values of the typical student that a sentence compares with."""

import numpy as np

from edupulse_ml.core.sequences import Float32, SequenceBatch
from edupulse_ml.models.inputs import InputNorms


def typical_values(norms: InputNorms, batch: SequenceBatch) -> Float32:
    """[B, F] raw value of the typical student of the scored week; NaN where unknown."""
    rows, last = np.arange(batch.n_examples), np.maximum(batch.length - 1, 0)
    return norms.typical_values(
        grade_level=batch.grade_level[rows, last], week_of_year=batch.week_of_school_year[rows, last]
    )
