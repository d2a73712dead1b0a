"""Negative controls: they pass on honest data and fail on a leak that was put there on purpose."""

import numpy as np
import pytest

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import PAD, SequenceBatch
from edupulse_ml.evaluation.negative_controls import (
    ControlRows,
    label_shuffle_control,
    record_pattern,
    record_pattern_control,
    shuffled_within,
    stratified_auc,
)

N, T = 6000, 12


def batch(length: np.ndarray, rng: np.random.Generator) -> SequenceBatch:
    real = np.arange(T)[None, :] < length[:, None]
    numbers = rng.normal(size=(len(length), T, 1)).astype(np.float32)
    return SequenceBatch(
        values=numbers,
        support=numbers,
        mask=(rng.random((len(length), T, 3)) < 0.9) & real[:, :, None],
        aux=numbers,
        context=numbers[:, 0],
        week=np.where(real, 700, PAD).astype(np.int32),
        grade_level=np.zeros((len(length), T), np.int32),
    )


def rows(seed: int, *, leak: bool) -> tuple[ControlRows, ControlRows]:
    """Signal rows, pattern rows. With `leak`, leavers' windows end early: the weeks after the event were not there."""
    rng = np.random.default_rng(seed)
    stratum = rng.integers(0, 5, N)
    signal = rng.normal(size=(N, 3))
    chance = 1 / (1 + np.exp(-(signal[:, 0] + stratum - 4)))
    label = (rng.random(N) < chance).astype(np.int8)
    length = rng.integers(4, T + 1, N)
    if leak:
        length = np.where(label == 1, np.minimum(length, 6), length)
    return ControlRows(signal, label, stratum), ControlRows(record_pattern(batch(length, rng)), label, stratum)


def test_shuffled_labels_teach_nothing() -> None:
    train, test = rows(1, leak=False)[0], rows(2, leak=False)[0]
    result = label_shuffle_control(train, test, seed=0, repeats=3)
    assert result.passed
    assert result.auc == pytest.approx(0.5, abs=0.02)
    assert stratified_auc(test.label, test.inputs[:, 0], test.stratum) > 0.7


def test_an_honest_record_does_not_tell_by_its_length() -> None:
    assert record_pattern_control(rows(1, leak=False)[1], rows(2, leak=False)[1], seed=0).passed


def test_a_record_that_ends_because_of_the_event_is_caught() -> None:
    result = record_pattern_control(rows(1, leak=True)[1], rows(2, leak=True)[1], seed=0)
    assert result.auc > 0.6
    assert not result.passed


def test_differences_between_strata_are_no_ranking() -> None:
    test = rows(3, leak=False)[0]
    assert stratified_auc(test.label, np.asarray(test.stratum, float), test.stratum) == 0.5


def test_shuffling_keeps_every_stratum_count() -> None:
    label, stratum = np.asarray([1, 0, 0, 1, 1, 0], np.int8), np.asarray([0, 1, 0, 1, 0, 1])
    shuffled = [shuffled_within(label, stratum, seed=seed) for seed in range(20)]
    for one in shuffled:
        assert [one[stratum == s].sum() for s in (0, 1)] == [2, 1]
    assert len({one.tobytes() for one in shuffled}) > 3


def test_the_pattern_holds_no_values() -> None:
    rng = np.random.default_rng(0)
    one = batch(np.asarray([3, 12]), rng)
    changed = SequenceBatch(**{**one.__dict__, "values": one.values * 100})
    np.testing.assert_array_equal(record_pattern(one), record_pattern(changed))
    assert record_pattern(one)[:, 0].tolist() == [3.0, 12.0]


def test_one_class_is_refused() -> None:
    train = rows(1, leak=False)[0]
    nobody = ControlRows(train.inputs, np.zeros(N, np.int8), train.stratum)
    with pytest.raises(NotEnoughDataError, match="one class"):
        label_shuffle_control(train, nobody, seed=0)
