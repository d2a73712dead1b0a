"""Feature blocks from and to the rows of `student_features`, and their last windows to and from `feature_windows`."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.sequences import (
    PAD,
    FeatureBlock,
    SequenceBatch,
    concatenate_batches,
    empty_windows,
    last_windows,
)
from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.core.windows import decode_windows, encode_windows
from edupulse_ml.storage.arrays import encode_rows

_INTEGERS: Final = {"week": "week", "school": "school", "grade_level": "grade_level", "school_year": "school_year"}
_FLOATS: Final = {
    "values": ("feature_values", len(FEATURES)),
    "support": ("support", len(SUPPORT_COLUMNS)),
    "aux": ("aux", len(AUX_COLUMNS)),
    "context": ("context", len(CONTEXT_COLUMNS)),
}


def assemble_block(columns: Mapping[str, NDArray[Any]], *, n_students: int) -> FeatureBlock:
    """A block from unordered rows; `columns["student"]` [R] is the position 0..n_students-1. No rows: no steps."""
    if not columns:
        return _scatter({}, np.empty(0, np.int64), np.empty(0, np.int64), (n_students, 0))
    order = np.lexsort((columns["week"], columns["student"]))
    student = columns["student"][order].astype(np.int64)
    counts = np.bincount(student, minlength=n_students)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    step = np.arange(len(student)) - starts[student]
    ordered = {name: values[order] for name, values in columns.items()}
    return _scatter(ordered, student, step, (n_students, int(counts.max())))


def _scatter(
    rows: Mapping[str, NDArray[Any]], student: NDArray[np.int64], step: NDArray[np.int64], shape: tuple[int, int]
) -> FeatureBlock:
    arrays: dict[str, NDArray[Any]] = {name: np.full(shape, PAD, dtype=np.int32) for name in _INTEGERS}
    arrays |= {name: np.full((*shape, width), np.nan, dtype=np.float32) for name, (_, width) in _FLOATS.items()}
    arrays["mask"] = np.zeros((*shape, len(MODALITIES)), dtype=np.bool_)
    if rows:
        for name, column in _INTEGERS.items():
            arrays[name][student, step] = rows[column]
        for name, (column, _) in _FLOATS.items():
            arrays[name][student, step] = rows[column]
        arrays["mask"][student, step] = rows["known_mask"]
    return FeatureBlock(**arrays)


def encode_block(block: FeatureBlock, *, keys: Sequence[int], school_keys: NDArray[Any]) -> bytes:
    """The real steps of a block as binary COPY data for `feature_stage`; `school_keys` turns positions into keys."""
    student, step = np.nonzero(block.week != PAD)
    return encode_rows(
        [
            ("int8", np.asarray(keys, dtype=np.int64)[student]),
            ("date", block.week[student, step]),
            ("int4", school_keys[block.school[student, step]]),
            ("int2", block.grade_level[student, step]),
            ("int2", block.school_year[student, step]),
            ("float4", block.values[student, step]),
            ("float4", block.support[student, step]),
            ("float4", block.aux[student, step]),
            ("float4", block.context[student, step]),
            ("bool", block.mask[student, step]),
        ]
    )


def last_window_columns(block: FeatureBlock, *, window_weeks: int) -> dict[str, list[Any]]:
    """Parameters of `write_windows`, one entry per student; nothing encoded and no last week where there is no step."""
    real = np.flatnonzero(block.n_steps)
    windows = last_windows(block.select(real.astype(np.int32)), window_weeks=window_weeks)
    encoded: list[bytes] = [b""] * block.n_students
    last_weeks: list[date | None] = [None] * block.n_students
    for student, record, week in zip(
        real.tolist(), encode_windows(windows), windows.week.max(axis=1).tolist(), strict=True
    ):
        encoded[student] = record
        last_weeks[student] = day_from_number(week)
    return {"last_weeks": last_weeks, "encoded": encoded}


def windows_of_sizes(data: bytes, sizes: NDArray[Any], *, window_weeks: int) -> SequenceBatch:
    """One window per entry of `sizes`, those of size 0 without any step; `data` holds the others one after the other."""
    real = decode_windows(data, window_weeks=window_weeks)
    if real.n_examples == len(sizes):
        return real
    position = np.full(len(sizes), real.n_examples)
    position[np.flatnonzero(sizes)] = np.arange(real.n_examples)
    return concatenate_batches([real, empty_windows(1, window_weeks=window_weeks)]).select(position)
