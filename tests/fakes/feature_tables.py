"""Expected features as ASCII tables, compared with what is computed."""

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD, FeatureBlock
from features.compute import FeatureOptions, compute_features
from tests.fakes.record_builder import rows_of, week

_COLUMNS = {
    name: (array, position)
    for array, names in (
        ("values", FEATURE_NAMES),
        ("support", SUPPORT_COLUMNS),
        ("mask", MODALITIES),
        ("aux", AUX_COLUMNS),
        ("context", CONTEXT_COLUMNS),
    )
    for position, name in enumerate(names)
}
TOLERANCE = 6e-4


def value_of(block: FeatureBlock, *, student: int, week_number: int, column: str) -> float:
    """One number of a block; fails if the week is no step of the student."""
    step = np.flatnonzero(block.week[student] == week(week_number))
    assert len(step) == 1, f"week {week_number} is no step"
    array, position = _COLUMNS[column]
    return float(getattr(block, array)[student, step[0], position])


def assert_features(records: RecordSet, expected: str, *, options: FeatureOptions | None = None) -> None:
    """Every cell of `expected` (columns `week` and names of channels; `-` is NaN, `*` anything) of student 0."""
    block = compute_features(records, through_week=week(200), options=options or FeatureOptions())
    wrong = []
    for row in rows_of(expected):
        number = int(row.pop("week"))
        for column, text in row.items():
            if text == "*":
                continue
            found = value_of(block, student=0, week_number=number, column=column)
            wanted = (
                float("nan") if text == "-" else {"yes": 1.0, "no": 0.0}.get(text) if text.isalpha() else float(text)
            )
            if not np.isclose(found, wanted, rtol=0, atol=TOLERANCE, equal_nan=True):
                wrong.append(f"week {number}: {column} is {found:.4f}, expected {text}")
    assert not wrong, "\n".join(wrong)


def weeks_of(block: FeatureBlock, *, student: int = 0) -> list[int]:
    """Week numbers of a student's steps."""
    return [(int(monday) - week(1)) // 7 + 1 for monday in block.week[student] if monday != PAD]


def assert_blocks_equal(left: FeatureBlock, right: FeatureBlock) -> None:
    """Bit for bit."""
    for name in FeatureBlock.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def rows_through(block: FeatureBlock, monday: int) -> FeatureBlock:
    """The block's rows up to and including a week, as a block cut to the longest student."""
    keep = (block.week != PAD) & (block.week <= monday)
    length = max(int(keep.sum(axis=1).max()), 1)

    def cut(array: np.ndarray) -> np.ndarray:
        fill = {"f": np.nan, "b": False, "i": PAD}[array.dtype.kind]
        mask = keep.reshape(keep.shape + (1,) * (array.ndim - 2))
        return np.where(mask, array, np.asarray(fill, dtype=array.dtype))[:, :length]

    return FeatureBlock(**{name: cut(getattr(block, name)) for name in FeatureBlock.__dataclass_fields__})
