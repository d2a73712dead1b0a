"""Feature blocks with random values, for stores."""

from collections.abc import Sequence

import numpy as np

from edupulse_ml.core.sequences import FeatureBlock
from tests.fakes.stores import empty_block


def block_of(weeks: Sequence[Sequence[int]], *, seed: int) -> FeatureBlock:
    """One student per entry of `weeks`, with these steps; a quarter of the values unknown."""
    random = np.random.default_rng(seed)
    block = empty_block(len(weeks), max((len(own) for own in weeks), default=0))
    for student, own in enumerate(weeks):
        n = len(own)
        block.week[student, :n] = own
        for name in ("values", "support", "aux", "context"):
            array = getattr(block, name)
            drawn = random.normal(size=(n, array.shape[2])).astype(np.float32)
            drawn[random.random(drawn.shape) < 0.25] = np.nan
            array[student, :n] = drawn
        block.mask[student, :n] = random.random((n, block.mask.shape[2])) < 0.5
        block.school[student, :n] = random.integers(0, 2, n)
        block.grade_level[student, :n] = random.integers(6, 13, n)
        block.school_year[student, :n] = 2024
    return block
