"""Windows cut out of whole records."""

from dataclasses import fields

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.sequences import (
    PAD,
    FeatureBlock,
    concatenate_blocks,
    last_windows,
    windows_ending_at,
)


def _block(n_steps: list[int]) -> FeatureBlock:
    """Student n's step s has the value 100 n + s in every feature, and the week 7 s."""
    n, s = len(n_steps), max(n_steps)
    real = np.arange(s)[None, :] < np.array(n_steps)[:, None]
    value = np.where(real, 100.0 * np.arange(n)[:, None] + np.arange(s)[None, :], np.nan).astype(np.float32)

    def wide(width: int) -> np.ndarray:
        return np.repeat(value[:, :, None], width, axis=2)

    def whole(numbers: np.ndarray) -> np.ndarray:
        return np.where(real, numbers, PAD).astype(np.int32)

    return FeatureBlock(
        week=whole(7 * np.arange(s)[None, :].repeat(n, 0)),
        values=wide(len(FEATURE_NAMES)),
        support=wide(len(SUPPORT_COLUMNS)),
        mask=np.repeat(real[:, :, None], len(MODALITIES), axis=2),
        aux=wide(len(AUX_COLUMNS)),
        context=wide(len(CONTEXT_COLUMNS)),
        school=whole(np.zeros((n, s))),
        grade_level=whole(np.full((n, s), 9)),
        school_year=whole(np.full((n, s), 2025)),
    )


def test_a_window_ends_at_its_step_and_is_left_aligned() -> None:
    batch = windows_ending_at(
        _block([6, 3]), student=np.array([0, 1, 0], np.int32), step=np.array([5, 1, 0], np.int32), window_weeks=4
    )
    assert batch.length.tolist() == [4, 2, 1]
    assert batch.values[0, :, 0].tolist() == [2, 3, 4, 5]
    assert batch.values[1, :2, 0].tolist() == [100, 101]
    assert np.isnan(batch.values[1, 2:]).all()
    assert not batch.mask[1, 2:].any()
    assert batch.week[2].tolist() == [0, PAD, PAD, PAD]
    assert batch.context[0, 0] == 5


def test_last_windows_keep_students_without_a_step() -> None:
    batch = last_windows(_block([0, 2, 5]), window_weeks=3)
    assert batch.length.tolist() == [0, 2, 3]
    assert batch.values[2, :, 0].tolist() == [202, 203, 204]
    assert np.isnan(batch.context[0]).all()


def test_blocks_are_joined_with_padding() -> None:
    joined = concatenate_blocks([_block([2]), _block([4, 1])])
    assert joined.n_steps.tolist() == [2, 4, 1]
    assert joined.week[0].tolist() == [0, 7, PAD, PAD]
    assert np.isnan(joined.values[0, 2:]).all()


def test_windows_can_be_cut_to_shorter_ones() -> None:
    block = _block([2, 5, 12])
    student, step = np.array([0, 1, 2, 2], dtype=np.int32), np.array([1, 4, 11, 6], dtype=np.int32)
    cut = windows_ending_at(block, student=student, step=step, window_weeks=8).latest(3)
    direct = windows_ending_at(block, student=student, step=step, window_weeks=3)
    for field in fields(direct):
        np.testing.assert_array_equal(getattr(cut, field.name), getattr(direct, field.name))
