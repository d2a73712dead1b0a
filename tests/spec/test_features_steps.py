"""Which weeks are steps, and the channels beside the features."""

import pytest

from features.compute import compute_features
from tests.fakes.feature_tables import assert_features, value_of, weeks_of
from tests.fakes.record_builder import build_records, week

BREAK_AND_SUMMER = """
    school  weeks  days   term  year
    A       1-3    MTWTF  S1    2024
    A       6-8    MTWTF  S2    2024
    A       20-21  MTWTF  T1    2025
"""


def steps_of(records, *, student=0):
    return weeks_of(compute_features(records, through_week=week(60)), student=student)


def test_breaks_and_summers_are_no_steps():
    assert steps_of(build_records(calendar=BREAK_AND_SUMMER)) == [1, 2, 3, 6, 7, 8, 20, 21]


def test_only_weeks_enrolled_as_known_at_their_own_close():
    records = build_records(
        calendar=BREAK_AND_SUMMER,
        enrollments="""
            student  school  grade  entry   exit    known   until
            s        A       9      W1      -       W2.Mon  W7.Tue
            s        A       9      W1      W7.Mon  W7.Tue  -
            t        A       9      W6.Fri  W8.Tue  -       -
            u        A       9      W4.Mon  W5.Fri  -       -
        """,
    )
    assert steps_of(records) == [2, 3, 6]
    assert steps_of(records, student=1) == [6, 7, 8]
    assert steps_of(records, student=2) == []


def test_partial_weeks_count_enrolled_days_only():
    records = build_records(
        enrollments="""
            student  school  grade  entry   exit
            s        A       9      W1.Thu  W3.Tue
        """,
        attendance="""
            student  weeks  days
            s        1      UUUUP
            s        2      PPPPP
            s        3      UPPPP
        """,
    )
    assert_features(
        records,
        """
        week  absence_rate_wk  days_enrolled_ytd
        1     0.5              2
        2     0                7
        3     1                8
        """,
    )


def test_a_transfer_goes_by_the_calendar_of_the_school_entered_last():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-4    MTWTF  S1    2024
            B       1      MTWTF  T1    2024
            B       3-5    MTW..  T1    2024
        """,
        enrollments="""
            student  school  grade  entry   exit
            s        A       9      W1      W3.Mon
            s        B       9      W3.Mon  -
        """,
    )
    block = compute_features(records, through_week=week(9))
    assert weeks_of(block) == [1, 2, 3, 4, 5]
    assert block.school[0].tolist() == [0, 0, 1, 1, 1]
    assert_features(
        records,
        """
        week  enrolled_days_ytd  schools_attended_count
        2     0.0556             1
        3     0.0722             2
        5     0.1056             2
        """,
    )


def test_a_school_counts_as_attended_while_an_enrolment_in_it_is_known():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-9    MTWTF  S1    2024
            B       9      MTWTF  T1    2024
        """,
        enrollments="""
            student  school  grade  entry   known   until
            s        A       9      W1      -       -
            s        B       9      W2      W5.Mon  W7.Tue
            s        A       9      W3      -       -
        """,
    )
    assert_features(
        records,
        """
        week  schools_attended_count
        2     1
        4     1
        5     2
        6     2
        7     1
        """,
    )


def test_time_channels():
    assert_features(
        build_records(calendar=BREAK_AND_SUMMER),
        """
        week  weeks_since_prev_step_log1p  week_of_school_year  enrolled_days_ytd
        1     0                            0.025                0.0278
        2     0.6931                       0.05                 0.0556
        6     1.3863                       0.15                 0.1111
        20    2.5649                       0.025                0.0278
        """,
    )


def test_age_beyond_the_nominal_one_on_the_first_of_september():
    records = build_records(calendar=BREAK_AND_SUMMER, births="student born\ns 2009-09-01")
    assert_features(
        records,
        """
        week  over_age_years  grade_level
        1     1.0007          9
        20    2               9
        """,
    )
    assert_features(build_records(), "week over_age_years\n1 -")


@pytest.mark.parametrize(("entry", "midyear"), [("W1", "0"), ("W5", "0"), ("W5.Tue", "1"), ("W-3", "0")])
def test_entry_after_more_than_twenty_days_of_school(entry, midyear):
    records = build_records(enrollments=f"student school grade entry\ns A 9 {entry}")
    assert_features(records, f"week entered_midyear\n6 {midyear}")


def test_a_late_record_of_an_early_entry_is_no_midyear_entry():
    records = build_records(enrollments="student school grade entry known\ns A 9 W1 W9.Mon")
    block = compute_features(records, through_week=week(30))
    assert weeks_of(block)[0] == 9
    assert value_of(block, student=0, week_number=9, column="entered_midyear") == 0


def test_rows_end_with_the_week_asked_for():
    assert weeks_of(compute_features(build_records(), through_week=week(3))) == [1, 2, 3]
