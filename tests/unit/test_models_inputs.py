"""Input norms: shrinkage, transforms, z-scores and their fallbacks."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.contract import FEATURE_INDEX, FEATURES, SUPPORT_INDEX
from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import windows_ending_at
from edupulse_ml.models.inputs import InputNorms
from tests.fakes.training_data import make_training_data

RATE = FEATURE_INDEX["absence_rate_4wk"]


@pytest.fixture(scope="module")
def data():
    return make_training_data(n_students=400, n_weeks=16, seed=5)


@pytest.fixture(scope="module")
def norms(data):
    return InputNorms.fit(data)


def window(data, *, steps=16):
    n = data.block.n_students
    step = data.block.n_steps - 1
    return windows_ending_at(data.block, student=np.arange(n, dtype=np.int32), step=step, window_weeks=steps)


def slow_z(norms, batch, b, t, f):
    """One value, step by step as the specification words it."""
    bands = [0] * 6 + [1] * 3 + [2] * 5
    column, x = FEATURES[f], float(batch.values[b, t, f])
    grade, week = batch.grade_level[b, t], round(float(batch.aux[b, t, 1]) * 40)
    if column.shrink_m:
        n = float(batch.support[b, t, SUPPORT_INDEX[column.support]])
        x = (x * n + column.shrink_m * float(norms.typical[grade, week, f])) / (n + column.shrink_m)
    if column.transform == "log1p":
        x = np.log1p(x)
    elif column.transform == "affine":
        x = x * column.scale + column.offset
    elif column.transform == "minus_support":
        x -= float(batch.support[b, t, SUPPORT_INDEX[column.support]])
    z = (x - float(norms.mean[bands[grade], week, f])) / float(norms.deviation[bands[grade], week, f])
    return 0.0 if np.isnan(z) else min(max(z, -5.0), 5.0)


def test_scores_equal_the_specification_value_by_value(data, norms):
    batch = window(data)
    z = norms.standardise(batch)
    rng = np.random.default_rng(0)
    for _ in range(400):
        b, f = rng.integers(batch.n_examples), rng.integers(len(FEATURES))
        t = rng.integers(batch.length[b])
        assert z[b, t, f] == pytest.approx(slow_z(norms, batch, b, t, f), abs=2e-5)


def whole_array_z(norms, batch):
    """The same arithmetic in the most direct whole-array form: what the fast path must equal bit for bit."""
    bands = np.array([0] * 6 + [1] * 3 + [2] * 5 + [3])
    out = np.where(np.isfinite(batch.values), batch.values, np.float32(np.nan))
    support = np.where(np.isfinite(batch.support), batch.support, np.float32(np.nan))
    known_grade = (batch.grade_level >= 0) & (batch.grade_level < 14)
    grade = np.where(known_grade, batch.grade_level, 14)
    week = np.clip(np.rint(np.nan_to_num(batch.aux[..., 1]) * 40).astype(int), 0, 60)
    prior, place = norms.typical[grade, week], (bands[grade], week)
    for f, column in enumerate(FEATURES):
        x = out[..., f].copy()
        n = support[..., SUPPORT_INDEX[column.support]] if column.support else None
        if column.shrink_m:
            m, n = np.float32(column.shrink_m), np.maximum(n, np.float32(0))
            shrunk = (x * n + m * prior[..., f]) / (n + m)
            x = np.where(np.isfinite(shrunk), shrunk, x)
        if column.transform == "log1p":
            x = np.log1p(np.maximum(x, np.float32(0)))
        elif column.transform == "minus_support":
            x = x - n
        elif column.transform == "affine":
            x = x * np.float32(column.scale) + np.float32(column.offset)
        out[..., f] = x
    z = np.clip((out - norms.mean[place]) / norms.deviation[place], np.float32(-5), np.float32(5))
    return np.nan_to_num(z, nan=0.0)


def test_the_fast_path_equals_whole_array_arithmetic_bit_for_bit(data, norms):
    batch = window(data)
    values, support, grade = batch.values.copy(), batch.support.copy(), batch.grade_level.copy()
    rng = np.random.default_rng(3)
    values[rng.random(values.shape) < 0.01] = np.inf
    support[rng.random(support.shape) < 0.05] = np.nan
    grade[rng.random(grade.shape) < 0.05] = 20
    strange = replace(batch, values=values, support=support, grade_level=grade)
    for each in (batch, strange, strange.select([3]), strange.select([])):
        np.testing.assert_array_equal(norms.standardise(each), whole_array_z(norms, each))


def test_a_typical_student_is_near_zero_with_unit_spread(data, norms):
    z = norms.standardise(window(data), keep_missing=True)
    assert np.all(np.abs(np.nanmean(z, axis=(0, 1))) < 0.15)
    assert np.all(np.abs(np.nanstd(z, axis=(0, 1)) - 1.0) < 0.25)


def test_missing_and_padding_are_zero_or_kept_as_nan(data, norms):
    batch = window(data)
    unknown = ~np.isfinite(batch.values)
    assert unknown.any()
    assert np.all(norms.standardise(batch)[unknown] == 0.0)
    assert np.all(np.isnan(norms.standardise(batch, keep_missing=True)[unknown]))


def test_a_rate_from_few_days_is_drawn_to_the_prior(data, norms):
    batch = window(data)
    batch.values[:, :, RATE] = np.where(np.isfinite(batch.values[:, :, RATE]), 0.9, np.nan)
    known = np.isfinite(batch.values[:, :, RATE])

    def with_days(days):
        support = batch.support.copy()
        support[:, :, SUPPORT_INDEX["days_enrolled_4wk"]] = days
        return norms.standardise(replace(batch, support=support))[:, :, RATE][known]

    none, few, many = with_days(0.0), with_days(2.0), with_days(1000.0)
    assert np.all(none < few)
    assert np.all(few <= many)
    assert np.all(few[many < 5] < many[many < 5])


def test_a_known_rate_without_its_denominator_stays_unshrunk(data, norms):
    batch = window(data)
    without = replace(batch, support=np.full_like(batch.support, np.nan))
    z = norms.standardise(without)[:, :, RATE]
    assert np.any(z[np.isfinite(batch.values[:, :, RATE])] != 0.0)


def test_norms_use_eligible_weeks_only(data):
    early = data.eligible & (np.arange(16) < 8)
    spoiled = data.block.values.copy()
    spoiled[~early] = 1e6
    first = InputNorms.fit(replace(data, eligible=early))
    second = InputNorms.fit(replace(data, eligible=early, block=replace(data.block, values=spoiled)))
    for name in ("typical", "mean", "deviation"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_weeks_are_smoothed_over_two_on_each_side(data, norms):
    values = np.where((data.block.grade_level == 9) & data.eligible, data.block.values[:, :, RATE], np.nan)
    neighbours = values[:, 3:8]  # weeks 4 to 8
    expected = np.nanmean(neighbours)
    answer = norms.typical_values(grade_level=np.array([9]), week_of_year=np.array([6]))
    assert answer[0, RATE] == pytest.approx(expected, rel=1e-5)


def test_unseen_grades_and_weeks_fall_back_to_wider_groups(data, norms):
    known = np.where(data.eligible, data.block.values[:, :, RATE], np.nan)
    all_grades_in_week_6 = np.nanmean(known[:, 3:8])
    typical = norms.typical_values(grade_level=np.array([2, -1, 9]), week_of_year=np.array([6, 6, 60]))
    lookup = typical[:, RATE]
    assert lookup[0] == pytest.approx(all_grades_in_week_6, rel=1e-5)
    assert lookup[1] == pytest.approx(all_grades_in_week_6, rel=1e-5)
    assert lookup[2] == pytest.approx(np.nanmean(known), rel=1e-5)


def test_features_that_never_varied_in_training_are_ignored(data):
    values = data.block.values.copy()
    values[:, :, 3] = np.nan
    values[:, :, 4] = np.where(np.isfinite(values[:, :, 4]), 0.25, np.nan)
    silent = InputNorms.fit(replace(data, block=replace(data.block, values=values)))
    z = silent.standardise(window(data))
    assert np.all(z[:, :, 3:5] == 0.0)
    assert np.isnan(silent.typical_values(grade_level=np.array([9]), week_of_year=np.array([5]))[0, 3])
    assert np.any(z[:, :, 5] != 0.0)


def test_one_student_alone_scores_as_in_a_large_batch(data, norms, monkeypatch):
    batch = window(data)
    together = norms.standardise(batch)
    monkeypatch.setattr("edupulse_ml.models.inputs.CHUNK_CELLS", 5000)
    np.testing.assert_array_equal(norms.standardise(batch), together)
    np.testing.assert_array_equal(norms.standardise(batch.select([7])), together[[7]])


def test_a_block_scores_as_its_windows(data, norms):
    block = data.block
    z = norms.standardise_steps(
        values=block.values, support=block.support, aux=block.aux, grade_level=block.grade_level
    )
    np.testing.assert_array_equal(z, norms.standardise(window(data)))


def test_context_is_standardised_and_unknown_is_zero(data, norms):
    context = window(data).context.copy()
    context[0] = np.nan
    z = norms.standardise_context(context)
    assert np.all(z[0] == 0.0)
    assert np.all(np.abs(z[1:].mean(axis=0)) < 0.3)


def test_saved_norms_are_the_same(norms, tmp_path):
    norms.save(tmp_path / "norms.npz")
    again = InputNorms.load(tmp_path / "norms.npz")
    for name in ("typical", "mean", "deviation", "context_mean", "context_deviation"):
        np.testing.assert_array_equal(getattr(again, name), getattr(norms, name))


def test_no_eligible_week_is_refused(data):
    with pytest.raises(NotEnoughDataError, match="no eligible student-week"):
        InputNorms.fit(replace(data, eligible=np.zeros_like(data.eligible)))
