"""Sequence aggregates against a slow oracle."""

import numpy as np
import pytest

from edupulse_ml.core.sequences import windows_ending_at
from edupulse_ml.models.aggregates import AGGREGATE_NAMES, aggregate_steps, monotone_directions, sequence_aggregates
from edupulse_ml.models.inputs import InputNorms
from tests.fakes.training_data import make_training_data


@pytest.fixture(scope="module")
def data():
    return make_training_data(n_students=60, n_weeks=12, seed=9)


def oracle(z, feature):
    """Five statistics of one feature of one student; z [T, F] holds real steps only."""
    series = z[:, feature]
    known = np.isfinite(series)
    mean = series[known].mean() if known.any() else np.nan
    recent = series[-4:][np.isfinite(series[-4:])]
    slope = np.polyfit(np.flatnonzero(known), series[known], 1)[0] if known.sum() >= 3 else np.nan
    return [series[-1], recent.mean() if len(recent) else np.nan, mean, series[-1] - mean, slope]


def test_every_statistic_equals_the_oracle(data):
    norms = InputNorms.fit(data)
    student, step = data.rows()
    batch = windows_ending_at(data.block, student=student, step=step, window_weeks=8)
    rows = sequence_aggregates(batch, norms)
    assert rows.shape == (len(student), len(AGGREGATE_NAMES))
    z = norms.standardise(batch, keep_missing=True).astype(np.float64)
    rng = np.random.default_rng(0)
    for _ in range(300):
        b, f = rng.integers(len(student)), rng.integers(42)
        expected = oracle(z[b, : batch.length[b]], f)
        np.testing.assert_allclose(rows[b, f:210:42], expected, atol=2e-4)


def test_masks_context_and_length_follow(data):
    norms = InputNorms.fit(data)
    student, step = data.rows()
    batch = windows_ending_at(data.block, student=student, step=step, window_weeks=8)
    rows = sequence_aggregates(batch, norms)
    last = batch.length - 1
    at = np.arange(len(last))
    np.testing.assert_array_equal(rows[:, 210:213], batch.mask[at, last])
    np.testing.assert_allclose(rows[:, 213:216], batch.mask.sum(axis=1) / batch.length[:, None], rtol=1e-6)
    np.testing.assert_array_equal(rows[:, 216:219], batch.aux[at, last])
    np.testing.assert_array_equal(rows[:, 219:223], batch.context)
    np.testing.assert_array_equal(rows[:, 223], batch.length)


def test_rows_of_a_block_equal_their_windows_in_chunks(data, monkeypatch):
    norms = InputNorms.fit(data)
    student, step = data.rows()
    batch = windows_ending_at(data.block, student=student, step=step, window_weeks=8)
    whole = sequence_aggregates(batch, norms)
    monkeypatch.setattr("edupulse_ml.models.aggregates.ROWS_PER_CHUNK", 37)
    chunked = aggregate_steps(data, student=student, step=step, window_weeks=8, norms=norms)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_directions_name_levels_only():
    directions = dict(zip(AGGREGATE_NAMES, monotone_directions(), strict=True))
    assert directions["absence_rate_4wk:last"] == 1
    assert directions["gpa_current_term:mean_window"] == -1
    assert directions["absence_rate_4wk:slope"] == 0
    assert directions["weeks_observed"] == 0
