"""The fast features against the slow ones, on random record sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, MODALITIES, SUPPORT_COLUMNS
from features.compute import FeatureOptions, compute_features
from tests.fakes.feature_oracle import oracle_features
from tests.fakes.random_records import RandomShape, random_records
from tests.fakes.record_builder import week

CHANNELS = {
    "values": FEATURE_NAMES,
    "support": SUPPORT_COLUMNS,
    "mask": MODALITIES,
    "aux": AUX_COLUMNS,
    "context": CONTEXT_COLUMNS,
}
SMALL_SHAPES = st.builds(
    RandomShape,
    n_students=st.integers(1, 2),
    n_schools=st.integers(1, 3),
    n_years=st.integers(1, 3),
    weeks_per_year=st.integers(4, 7),
    tidy=st.booleans(),
)
OPTIONS = st.builds(
    FeatureOptions,
    district_posts_zeros=st.booleans(),
    objective_discipline_only=st.booleans(),
    pre_break_min_weekdays=st.integers(1, 3),
    credits_per_year=st.sampled_from([6.0, 7.5]),
    passing_pct=st.sampled_from([60.0, 70.0]),
)


def assert_as_oracle(records, *, through_week, options):
    fast = compute_features(records, through_week=through_week, options=options)
    slow = oracle_features(records, through_week=through_week, options=options)
    for name in ("week", "school", "grade_level", "school_year"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)
    for array, names in CHANNELS.items():
        for position, name in enumerate(names):
            np.testing.assert_allclose(
                getattr(fast, array)[..., position].astype(np.float64),
                getattr(slow, array)[..., position].astype(np.float64),
                rtol=2e-5,
                atol=2e-5,
                err_msg=name,
            )
    return fast


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=SMALL_SHAPES, options=OPTIONS, last_week=st.integers(1, 40))
def test_small_record_sets_of_any_shape(seed, shape, options, last_week):
    records = random_records(np.random.default_rng(seed), shape)
    assert_as_oracle(records, through_week=week(last_week), options=options)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_years_of_corrections_transfers_and_breaks(seed):
    options = FeatureOptions(district_posts_zeros=seed == 2, objective_discipline_only=seed == 3)
    records = random_records(np.random.default_rng(seed), RandomShape())
    assert_as_oracle(records, through_week=week(60), options=options)


def test_the_seeded_sets_exercise_every_feature():
    records = random_records(np.random.default_rng(7), RandomShape(n_students=40))
    values = compute_features(records, through_week=week(60)).values
    n_values = np.isfinite(values).sum(axis=(0, 1))
    n_distinct = [len(np.unique(column[np.isfinite(column)])) for column in values.reshape(-1, len(FEATURE_NAMES)).T]
    assert {name: int(n) for name, n in zip(FEATURE_NAMES, n_values, strict=True) if n < 100} == {}
    assert {name: n for name, n in zip(FEATURE_NAMES, n_distinct, strict=True) if n < 3} == {}
