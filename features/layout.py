"""From flat rows to the arrays [N, S, ...] of a block."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.sequences import PAD, FeatureBlock
from features.ragged import Bools, Floats, Ints, positions
from features.steps import Steps


@dataclass(frozen=True)
class Columns:
    """Columns of shape [R], by the array of the block that they go to."""

    values: Sequence[Floats]
    support: Sequence[Floats | Ints]
    mask: Sequence[Bools]
    aux: Sequence[Floats]
    context: Sequence[Floats]


def new_block(n_students: int, *, n_steps: int) -> FeatureBlock:
    """A block whose contents are undefined until `write_rows` has written every student."""

    def floats(width: int) -> np.ndarray:
        return np.empty((n_students, n_steps, width), dtype=np.float32)

    def ints() -> np.ndarray:
        return np.empty((n_students, n_steps), dtype=np.int32)

    return FeatureBlock(
        week=ints(),
        values=floats(len(FEATURES)),
        support=floats(len(SUPPORT_COLUMNS)),
        mask=np.empty((n_students, n_steps, len(MODALITIES)), dtype=np.bool_),
        aux=floats(len(AUX_COLUMNS)),
        context=floats(len(CONTEXT_COLUMNS)),
        school=ints(),
        grade_level=ints(),
        school_year=ints(),
    )


def write_padding(block: FeatureBlock, students: slice) -> None:
    """Fill everything of these students with padding."""
    for name in ("week", "school", "grade_level", "school_year"):
        getattr(block, name)[students] = PAD
    for name in ("values", "support", "aux", "context"):
        getattr(block, name)[students] = np.nan
    block.mask[students] = False


def write_rows(block: FeatureBlock, students: slice, steps: Steps, columns: Columns) -> None:
    """Fill everything of these students with what was computed of their steps, and padding."""
    n_steps = block.week.shape[1]
    target = steps.at.student * n_steps + (steps.rows - steps.first_row)
    is_padding = np.ones(steps.n_students * n_steps, dtype=np.bool_)
    is_padding[target] = False
    padding = positions(is_padding)
    for array, column in (
        (block.week, steps.week),
        (block.school, steps.weeks.schools.take(steps.at.school)),
        (block.grade_level, steps.at.grade_level),
        (block.school_year, steps.at.school_year),
    ):
        flat = array[students].reshape(-1)
        flat[target] = column
        flat[padding] = PAD
    for array, wide, fill in (
        (block.values, columns.values, np.nan),
        (block.support, columns.support, np.nan),
        (block.mask, columns.mask, False),
        (block.aux, columns.aux, np.nan),
        (block.context, columns.context, np.nan),
    ):
        rows = np.empty((len(wide), steps.n_rows), dtype=array.dtype)
        for position, column in enumerate(wide):
            rows[position] = column
        flat = array[students].reshape(-1, len(wide))
        flat[target] = rows.T
        flat[padding] = fill


def first_steps(block: FeatureBlock, *, n_steps: int) -> FeatureBlock:
    """The block without the columns from `n_steps` on; itself where there are none."""
    if n_steps == block.week.shape[1]:
        return block
    return FeatureBlock(
        **{name: np.ascontiguousarray(getattr(block, name)[:, :n_steps]) for name in block.__dataclass_fields__}
    )
