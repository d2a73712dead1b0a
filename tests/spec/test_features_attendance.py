"""A1 to A14 in small tables."""

from features.compute import FeatureOptions
from tests.fakes.feature_tables import assert_features
from tests.fakes.record_builder import build_records


def test_rates_of_the_week_four_weeks_and_the_year():
    records = build_records(
        attendance="""
            student  weeks  days
            s        1      PPPPU
            s        2      PPPEE
            s        3-4    PPPPP
            s        5      PPPPP
            s        6      uPPPS
        """
    )
    assert_features(
        records,
        """
        week  absence_rate_wk  absence_rate_4wk  absence_rate_ytd  unexcused_absence_rate_4wk  days_enrolled_4wk  days_enrolled_ytd  days_present_4wk
        1     0.2              0.2               0.2               0.2                         5                  5                  4
        2     0.4              0.3               0.3               0.1                         10                 10                 7
        4     0                0.15              0.15              0.05                        20                 20                 17
        5     0                0.1               0.12              0                           20                 25                 18
        6     0.3              0.075             0.15              0.025                       20                 30                 18
        """,
    )


def test_a_week_without_attendance_is_missing_and_in_no_denominator():
    records = build_records(
        attendance="""
            student  weeks  days
            s        1      UUPPP
            s        3      P....
        """
    )
    assert_features(
        records,
        """
        week  absence_rate_wk  absence_rate_4wk  days_enrolled_4wk  days_enrolled_ytd  attendance
        1     0.4              0.4               5                  5                  yes
        2     -                0.4               5                  5                  yes
        3     0                0.2               10                 10                 yes
        4     -                0.2               10                 10                 yes
        5     -                0                 5                  10                 yes
        7     -                -                 0                  10                 no
        """,
    )


def test_chronic_tier_needs_ten_days_and_is_exact_at_its_thresholds():
    records = build_records(
        attendance="""
            student  weeks  days
            s        1      PPPPP
            s        2      PPPPU
            s        3      PPPPP
            s        4      PPPPP
            s        5      PPPPP
            s        6      UUUUU
        """
    )
    assert_features(
        records,
        """
        week  absence_rate_ytd  chronic_absence_tier
        1     0                 -
        2     0.1               2
        3     0.0667            1
        4     0.05              1
        5     0.04              0
        6     0.2               3
        """,
    )


def test_change_and_trend_against_the_weeks_before():
    records = build_records(
        attendance="""
            student  weeks  days
            s        1-4    PPPPP
            s        5      UPPPP
            s        6      UUPPP
            s        7      UUUPP
            s        8      UUUUP
        """
    )
    assert_features(
        records,
        """
        week  absence_rate_change  absence_trend_8wk
        3     -                    -
        4     -                    0
        5     -                    0.04
        6     0.15                 0.0743
        8     0.5                  0.119
        """,
    )


def test_unexcused_share_is_one_half_without_absence():
    records = build_records(
        attendance="""
            student  weeks  days
            s        1      PPPPP
            s        2      UUEPP
        """
    )
    assert_features(
        records,
        """
        week  unexcused_share_ytd
        1     0.5
        2     0.6
        """,
    )


def test_streaks_run_over_weekends_and_breaks_but_not_over_the_summer():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-2    MTWTF  S1    2024
            A       5-6    MTWTF  S2    2024
            A       9      MTWTF  T1    2025
        """,
        attendance="""
            student  weeks  days
            s        1      PUUPE
            s        2      uUPPU
            s        5      EEPPP
            s        6      PPPPU
            s        9      UPPPP
        """,
    )
    assert_features(
        records,
        """
        week  absence_streak_current  absence_streak_max_ytd
        1     1                       2
        2     1                       3
        5     0                       3
        6     1                       3
        9     0                       1
        """,
    )


def test_a_day_without_a_record_ends_a_streak():
    records = build_records(
        attendance="""
            student  weeks  days
            s        1      UUU.U
            s        2      U....
        """
    )
    assert_features(
        records,
        """
        week  absence_streak_current  absence_streak_max_ytd
        1     1                       3
        2     0                       3
        """,
    )


def test_a_correction_changes_streaks_and_trend_from_the_week_it_is_known():
    records = build_records(
        attendance="""
            student  weeks  days   known    until
            s        1      UU.UU  -        -
            s        1      ..U..  W1.Wed   W3.Tue
            s        1      ..P..  W3.Tue   -
            s        2-3    PPPPP  -        -
            s        2      ......U  -      -
        """
    )
    assert_features(
        records,
        """
        week  absence_streak_current  absence_streak_max_ytd  absence_rate_ytd
        1     5                       5                       1
        2     0                       5                       0.5
        3     0                       2                       0.2667
        """,
    )


def test_late_attendance_counts_from_the_week_it_is_known():
    records = build_records(
        attendance="""
            student  weeks  days   known
            s        1      UUUUU  W3.Mon
            s        2-4    PPPPP  -
        """
    )
    assert_features(
        records,
        """
        week  absence_rate_wk  absence_rate_4wk  absence_streak_max_ytd  attendance
        1     -                -                 -                       no
        2     0                0                 0                       yes
        3     0                0.3333            5                       yes
        4     0                0.25              5                       yes
        5     -                0                 5                       yes
        """,
    )


def test_tardies_only_where_the_school_records_them():
    attendance = """
        student  weeks  days
        s        1      TPPTU
        s        2      UUUUU
    """
    assert_features(
        build_records(attendance=attendance),
        """
        week  tardy_rate_4wk  days_present_4wk
        1     0.5             4
        2     0.5             4
        """,
    )
    calendar = """
        school  weeks  days   term  year  tardies
        A       1-2    MTWTF  S1    2024  no
    """
    assert_features(
        build_records(calendar=calendar, attendance=attendance),
        """
        week  tardy_rate_4wk  days_present_4wk
        1     -               4
        """,
    )


def test_partial_days_count_periods_on_days_present():
    records = build_records(
        attendance="""
            student  weeks  days   periods_absent  periods
            s        1      P....  2               6
            s        1      .T...  1               6
            s        1      ..U..  6               6
            s        1      ...P.  -               6
        """
    )
    assert_features(
        records,
        """
        week  partial_day_absence_rate_4wk
        1     0.25
        6     -
        """,
    )


def test_mondays_fridays_and_days_before_a_break():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1      MTW..  S1    2024
            A       2-3    MTWTF  S1    2024
            A       4      MTWT.  S1    2024
            A       5-6    MTWTF  S1    2024
        """,
        attendance="""
            student  weeks  days
            s        1      PPU..
            s        2      PPPPP
            s        3      PPPPU
            s        4      PPPU.
        """,
    )
    assert_features(
        records,
        """
        week  mon_fri_prebreak_expected_share  mon_fri_prebreak_absence_share_ytd
        1     0.6667                           0.7333
        2     0.5                              0.6
        3     0.4615                           0.641
        4     0.4118                           0.521
        """,
    )
    two_days = FeatureOptions(pre_break_min_weekdays=1)
    assert_features(
        records,
        """
        week  mon_fri_prebreak_expected_share
        4     0.4706
        """,
        options=two_days,
    )


def test_prior_year_rate_at_any_school_with_corrections_after_the_year():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-2    MTWTF  S1    2024
            B       8-9    MTWTF  T1    2025
        """,
        enrollments="""
            student  school  grade  entry  exit
            s        A       8      W1     W3
            s        B       9      W8     -
        """,
        attendance="""
            student  weeks  days   known   until
            s        1      PPPPP  -       -
            s        2      UUP.P  -       -
            s        2      ...P.  -       W9.Mon
            s        2      ...U.  W9.Mon  -
            s        8      UUUUU  -       -
        """,
    )
    assert_features(
        records,
        """
        week  absence_rate_prior_year  absence_rate_ytd  absence_rate_4wk
        2     -                        0.2               0.2
        8     0.2                      1                 1
        9     0.3                      1                 1
        """,
    )


def test_attendance_on_other_days_is_ignored():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1      MT.TF  S1    2024
            A       3      MTWTF  S1    2024
        """,
        attendance="""
            student  weeks  days
            s        1      PPUPPU
            s        2      UUUUU
            s        3      PPPPP
        """,
    )
    assert_features(
        records,
        """
        week  absence_rate_wk  absence_rate_4wk  days_enrolled_4wk
        1     0                0                 4
        3     0                0                 9
        """,
    )
