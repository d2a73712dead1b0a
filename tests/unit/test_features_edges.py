"""Ranges, intervals and slopes, and what is refused."""

import numpy as np
import pytest

from edupulse_ml.core.sequences import PAD
from features.compute import FeatureOptions, NotAMondayError, compute_features
from features.courses import grade_points
from features.options import InvalidFeatureOptionsError
from features.ragged import Intervals, dense_codes, expand_ranges, merge_intervals, ratio
from features.trends import N_LAGS, Corrections, Lags, slope
from tests.fakes.feature_tables import weeks_of
from tests.fakes.record_builder import build_records, week


def ints(*values):
    return np.array(values, dtype=np.int64)


def test_ranges_are_laid_out_in_order():
    source, member = expand_ranges(ints(3, 5, 0), ints(5, 5, 2))
    assert source.tolist() == [0, 0, 2, 2]
    assert member.tolist() == [3, 4, 0, 1]


def test_backward_ranges_are_empty():
    source, member = expand_ranges(ints(5, 1), ints(2, 2))
    assert (source.tolist(), member.tolist()) == ([1], [1])


def test_intervals_that_touch_or_overlap_become_one_per_key():
    merged = merge_intervals(
        Intervals(ints(7, 2, 2, 2, 7), ints(0, 4, 0, 2, 6), ints(3, 9, 2, 3, 8)),
    )
    assert list(zip(merged.key.tolist(), merged.start.tolist(), merged.stop.tolist(), strict=True)) == [
        (2, 0, 3),
        (2, 4, 9),
        (7, 0, 3),
        (7, 6, 8),
    ]


def test_an_interval_inside_a_longer_one_vanishes():
    merged = merge_intervals(Intervals(ints(1, 1, 1), ints(0, 1, 9), ints(9, 2, 10)))
    assert (merged.start.tolist(), merged.stop.tolist()) == ([0], [10])


@pytest.mark.parametrize("space", [50, 10**9])
def test_codes_rise_with_the_keys(space):
    code, distinct = dense_codes(ints(40, 7, 40, 9), space=space)
    assert distinct.tolist() == [7, 9, 40]
    assert code.tolist() == [2, 0, 2, 1]


def test_ratio_is_missing_over_nothing():
    np.testing.assert_array_equal(ratio(ints(1, 0), ints(2, 0)), [0.5, np.nan])


def no_corrections():
    return Corrections(ints(), ints(), np.empty(0), np.empty(0, dtype=np.bool_))


def test_slope_needs_enough_points_and_skips_gaps():
    values, exists = np.array([4.0, 6.0, 99.0, 10.0, 12.0]), np.array([True, True, False, True, True])
    found = slope(values, exists, Lags(np.arange(5)), no_corrections(), min_points=4)
    np.testing.assert_allclose(found, [np.nan, np.nan, np.nan, np.nan, 2.0])


def test_slope_looks_at_eight_steps_of_one_stretch():
    values = np.concatenate(([500.0], np.arange(N_LAGS), [0.0, 3.0]))
    into = np.concatenate((np.arange(N_LAGS + 1), [0, 1]))
    found = slope(values, np.ones(len(values), dtype=np.bool_), Lags(into), no_corrections(), min_points=2)
    np.testing.assert_allclose(found[[N_LAGS, N_LAGS + 1, N_LAGS + 2]], [1.0, np.nan, 3.0])


def test_slope_sees_the_past_as_corrected_at_each_row():
    values = np.array([0.0, 1.0, 2.0, 3.0])
    corrections = Corrections(ints(1, 3), ints(3, 3), np.array([9.0, 6.0]), np.array([False, True]))
    found = slope(values, np.ones(4, dtype=np.bool_), Lags(np.arange(4)), corrections, min_points=2)
    np.testing.assert_allclose(found, [np.nan, 1.0, 1.0, -5 / 7])


@pytest.mark.parametrize(
    "cutoffs", [((90.0, 4.0), (60.0, 1.0)), ((90.0001, 4.0), (60.0, 1.0)), ((90.0, 4.0), (0.0, 1.0))]
)
def test_grade_points_change_at_the_lines(cutoffs):
    options = FeatureOptions(grade_point_cutoffs=cutoffs)
    lines = [round(line * 1_000_000) for line, _ in cutoffs]
    percent = np.array([lines[0] - 1, lines[0], 250_000_000, lines[1] - 1, lines[1]])
    found = grade_points(percent, unit=1_000_000, options=options)
    assert found.tolist() == [1000, 4000, 4000, 0, 1000]


def test_a_week_is_named_by_its_monday():
    with pytest.raises(NotAMondayError, match="Monday"):
        compute_features(build_records(), through_week=week(3) + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"grade_point_cutoffs": ()},
        {"grade_point_cutoffs": ((60.0, 1.0), (90.0, 4.0))},
        {"credits_per_year": 0.0},
        {"pre_break_min_weekdays": 0},
    ],
)
def test_options_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(InvalidFeatureOptionsError):
        FeatureOptions(**wrong)


def test_students_without_steps_are_padding():
    block = compute_features(build_records(), through_week=week(0))
    assert block.week.tolist() == [[PAD]]
    assert np.isnan(block.values).all()
    assert block.values.shape == (1, 1, 42)
    assert not block.mask.any()


def test_students_without_enrolments_stand_beside_the_others():
    records = build_records(enrollments="student school grade entry exit\ns A 9 W1 W1\nt A 9 W2 W3")
    block = compute_features(records, through_week=week(20))
    assert (weeks_of(block, student=0), weeks_of(block, student=1)) == ([], [2])
    nobody = build_records(enrollments="student school grade entry\n")
    assert compute_features(nobody, through_week=week(20)).n_students == 0
