"""A window summed up in one row: what a boosted tree can read of a sequence.

Legend: B examples, T steps, F features, M modalities, A aux, C context, D = 5 F + 2 M + A + C + 1 columns.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, FEATURES, MODALITIES
from edupulse_ml.core.sequences import Float32, Int32, SequenceBatch, windows_ending_at
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import TrainingData

RECENT_WEEKS: Final = 4
LEAST_WEEKS_FOR_SLOPE: Final = 3
STATISTICS: Final[tuple[str, ...]] = ("last", "mean_4wk", "mean_window", "last_less_mean", "slope")
ROWS_PER_CHUNK: Final = 8192

AGGREGATE_NAMES: Final[tuple[str, ...]] = (
    *(f"{feature}:{statistic}" for statistic in STATISTICS for feature in FEATURE_NAMES),
    *(f"{modality}:recorded_last" for modality in MODALITIES),
    *(f"{modality}:recorded_share" for modality in MODALITIES),
    *AUX_COLUMNS,
    *CONTEXT_COLUMNS,
    "weeks_observed",
)
"""The D columns: 210 of the features (5 statistics of 42), then masks, step channels and context."""


def monotone_directions() -> tuple[int, ...]:
    """[D] the contract's direction for each feature's last value and means, 0 elsewhere.

    Differences and slopes stay free: a falling absence rate may still be a high one.
    """
    direction = [column.monotone for column in FEATURES]
    free = [0] * len(FEATURES)
    rest = len(AGGREGATE_NAMES) - len(STATISTICS) * len(FEATURES)
    return (*direction, *direction, *direction, *free, *free, *([0] * rest))


def sequence_aggregates(batch: SequenceBatch, norms: InputNorms) -> Float32:
    """[B, D] aggregates of the z-scores of each window. NaN where no week of the statistic was known."""
    parts = [_aggregate(batch.select(rows), norms) for rows in _chunks(batch.n_examples)]
    return np.concatenate(parts) if parts else np.zeros((0, len(AGGREGATE_NAMES)), dtype=np.float32)


def aggregate_steps(
    data: TrainingData, *, student: Int32, step: Int32, window_weeks: int, norms: InputNorms
) -> Float32:
    """[R, D] aggregates of the windows that end at (student, step); windows are built a chunk at a time."""
    parts = [
        _aggregate(
            windows_ending_at(data.block, student=student[rows], step=step[rows], window_weeks=window_weeks), norms
        )
        for rows in _chunks(len(student))
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(AGGREGATE_NAMES)), dtype=np.float32)


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_PER_CHUNK) for start in range(0, rows, ROWS_PER_CHUNK))


def _aggregate(batch: SequenceBatch, norms: InputNorms) -> Float32:
    z_BTF = norms.standardise(batch, keep_missing=True)
    return np.concatenate([feature_statistics(z_BTF, batch.length), other_columns(batch)], axis=1)


def feature_statistics(z_BTF: Float32, length: Int32) -> Float32:
    """[B, 5 F] the statistics of z-scores, NaN where missing, of windows with `length` [B] real steps."""
    step = np.arange(z_BTF.shape[1], dtype=np.float32)
    real_BT = step[None, :] < length[:, None]
    known_BTF = np.isfinite(z_BTF) & real_BT[:, :, None]
    recent_BT = real_BT & (step[None, :] >= (length - RECENT_WEEKS)[:, None])
    rows, last = np.arange(len(length)), np.maximum(length - 1, 0)

    value_BTF = np.where(known_BTF, z_BTF, np.float32(0.0))
    count = known_BTF.sum(axis=1, dtype=np.float32)
    total = value_BTF.sum(axis=1)
    mean_window = _divide(total, count)
    recent = recent_BT.astype(np.float32)
    mean_recent = _divide(
        np.einsum("bt,btf->bf", recent, value_BTF), np.einsum("bt,btf->bf", recent, known_BTF.astype(np.float32))
    )
    last_value = np.where(known_BTF[rows, last], z_BTF[rows, last], np.float32(np.nan))

    known = known_BTF.astype(np.float32)
    time_total = np.einsum("t,btf->bf", step, known)
    time_squares = np.einsum("t,btf->bf", step * step, known)
    cross = np.einsum("t,btf->bf", step, value_BTF)
    slope = _divide(count * cross - time_total * total, count * time_squares - time_total * time_total)
    slope[count < LEAST_WEEKS_FOR_SLOPE] = np.nan
    columns = [last_value, mean_recent, mean_window, last_value - mean_window, slope]
    return np.concatenate([column.astype(np.float32) for column in columns], axis=1)


def other_columns(batch: SequenceBatch) -> Float32:
    """[B, D - 5 F] what the aggregates hold beside the features' statistics."""
    length = batch.length
    rows, last = np.arange(len(length)), np.maximum(length - 1, 0)
    recorded = batch.mask & (np.arange(batch.mask.shape[1])[None, :] < length[:, None])[:, :, None]
    share = recorded.sum(axis=1) / np.maximum(length, 1)[:, None]
    columns = [recorded[rows, last], share, batch.aux[rows, last], batch.context, length[:, None]]
    return np.concatenate([column.astype(np.float32) for column in columns], axis=1)


def _divide(numerator: Float32, denominator: Float32) -> Float32:
    out = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
