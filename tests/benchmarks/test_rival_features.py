"""The rivals of the features compute the very same numbers; a rival that computes something else proves nothing."""

from collections.abc import Iterator

import numpy as np
import pytest

from edupulse_ml.core.contract import FEATURE_NAMES
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.simulation.settings import DistrictPlan
from features.compute import compute_features
from tests.benchmarks.district import FIRST_YEAR, LAST_WEEK, canonical_records, repeated
from tests.benchmarks.features_pandas import SUBSET, pandas_features
from tests.benchmarks.features_postgres import PostgresFeatures
from tests.fakes.servers import PostgresFixture

STUDENTS = 60


@pytest.fixture(scope="module")
def records() -> RecordSet:
    """Two school years, so that the features of the year before have values."""
    plan = DistrictPlan(students=STUDENTS, years=2, seed=5, first_year=FIRST_YEAR - 1)
    return canonical_records(plan).records


@pytest.fixture(scope="module")
def expected(records: RecordSet) -> FeatureBlock:
    return compute_features(records, through_week=LAST_WEEK)


@pytest.fixture
def database(postgres: PostgresFixture, records: RecordSet) -> Iterator[PostgresFeatures]:
    opened = PostgresFeatures(postgres.create_empty(), records)
    yield opened
    opened.close()


def assert_equal(found: np.ndarray, block: FeatureBlock, name: str) -> None:
    student, step = np.nonzero(block.week != PAD)
    ours = block.values[student, step, FEATURE_NAMES.index(name)]
    assert np.isfinite(ours).any(), f"{name} has no value in this district: the comparison shows nothing"
    np.testing.assert_allclose(found, ours, rtol=1e-4, atol=1e-4, err_msg=name)


def test_pandas_computes_the_same(records: RecordSet, expected: FeatureBlock) -> None:
    found = pandas_features(records, through_week=LAST_WEEK)
    student, step = np.nonzero(expected.week != PAD)
    np.testing.assert_array_equal(found.index.get_level_values("student"), student)
    np.testing.assert_array_equal(found.index.get_level_values("week"), expected.week[student, step])
    for name in SUBSET:
        assert_equal(found[name].to_numpy(), expected, name)


def test_sql_computes_the_same(database: PostgresFeatures, records: RecordSet, expected: FeatureBlock) -> None:
    names, rows = database.rows(records.n_students, through_week=LAST_WEEK)
    found = dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True))
    student, step = np.nonzero(expected.week != PAD)
    np.testing.assert_array_equal(found["student"], student)
    np.testing.assert_array_equal(found["week"], expected.week[student, step])
    for name in SUBSET:
        assert_equal(found[name], expected, name)


def test_sql_takes_the_first_students_only(database: PostgresFeatures, expected: FeatureBlock) -> None:
    assert database.count(7, through_week=LAST_WEEK) == expected.n_steps[:7].sum()


def test_a_repeated_district_has_the_same_students_again(records: RecordSet, expected: FeatureBlock) -> None:
    found = compute_features(repeated(records, times=2), through_week=LAST_WEEK)
    assert found.n_students == 2 * records.n_students
    np.testing.assert_array_equal(found.values, np.concatenate([expected.values, expected.values]))
