"""From flat rows to the arrays [N, S, ...] of a block."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.sequences import PAD, FeatureBlock
from features.ragged import Bools, Floats, Ints
from features.steps import Steps


@dataclass(frozen=True)
class Columns:
    """Columns of shape [R], by the array of the block that they go to."""

    values: Sequence[Floats]
    support: Sequence[Floats | Ints]
    mask: Sequence[Bools]
    aux: Sequence[Floats]
    context: Sequence[Floats]


def empty_block(n_students: int, *, n_steps: int) -> FeatureBlock:
    """A block of padding."""

    def floats(width: int) -> np.ndarray:
        return np.full((n_students, n_steps, width), np.nan, dtype=np.float32)

    def padding() -> np.ndarray:
        return np.full((n_students, n_steps), PAD, dtype=np.int32)

    return FeatureBlock(
        week=padding(),
        values=floats(len(FEATURES)),
        support=floats(len(SUPPORT_COLUMNS)),
        mask=np.zeros((n_students, n_steps, len(MODALITIES)), dtype=np.bool_),
        aux=floats(len(AUX_COLUMNS)),
        context=floats(len(CONTEXT_COLUMNS)),
        school=padding(),
        grade_level=padding(),
        school_year=padding(),
    )


def write_rows(block: FeatureBlock, steps: Steps, columns: Columns, *, first_student: int) -> None:
    """Fill the rows of the students from `first_student` on with what was computed of them."""
    students = slice(first_student, first_student + steps.n_students)
    target = steps.at.student * block.week.shape[1] + (steps.rows - steps.first_row)
    for array, column in (
        (block.week, steps.week),
        (block.school, steps.weeks.schools[steps.at.school]),
        (block.grade_level, steps.at.grade_level),
        (block.school_year, steps.at.school_year),
    ):
        array[students].reshape(-1)[target] = column
    for array, wide in (
        (block.values, columns.values),
        (block.support, columns.support),
        (block.mask, columns.mask),
        (block.aux, columns.aux),
        (block.context, columns.context),
    ):
        rows = np.empty((len(wide), steps.n_rows), dtype=array.dtype)
        for position, column in enumerate(wide):
            rows[position] = column
        array[students].reshape(-1, len(wide))[target] = rows.T


def first_steps(block: FeatureBlock, *, n_steps: int) -> FeatureBlock:
    """The block without the columns from `n_steps` on; itself where there are none."""
    if n_steps == block.week.shape[1]:
        return block
    return FeatureBlock(
        **{name: np.ascontiguousarray(getattr(block, name)[:, :n_steps]) for name in block.__dataclass_fields__}
    )
