"""D1 to D13 in small tables."""

from features.compute import FeatureOptions
from tests.fakes.feature_tables import assert_features
from tests.fakes.record_builder import build_records

TWO_YEARS = """
    school  weeks  days   term  year
    A       1-12   MTWTF  S1    2024
    A       20-24  MTWTF  T1    2025
"""


def test_counts_by_window_and_kind():
    records = build_records(
        discipline="""
            student  day      objective  severity  major
            s        W2.Tue   no         1         no
            s        W2.Wed   yes        4         yes
            s        W4.Tue   no         2         no
        """
    )
    assert_features(
        records,
        """
        week  odr_count_wk  odr_count_8wk  odr_count_ytd  objective_incident_count_ytd  major_incident_count_8wk  severity_max_8wk
        1     0             0              0              0                             0                         0
        2     2             2              2              1                             1                         4
        3     0             2              2              1                             1                         4
        4     1             3              3              1                             1                         4
        9     0             3              3              1                             1                         4
        10    0             1              3              1                             0                         2
        12    0             0              3              1                             0                         0
        """,
    )
    assert_features(
        records,
        """
        week  odr_count_wk  odr_count_ytd  objective_incident_count_ytd  severity_max_8wk  severity_ewma
        2     1             1              1                             4                 4
        4     0             1              1                             4                 2.8284
        """,
        options=FeatureOptions(objective_discipline_only=True),
    )


def test_change_of_the_rate_from_the_tenth_week():
    records = build_records(
        discipline="""
            student  day
            s        W1.Tue
            s        W2.Tue
            s        W9.Tue
        """
    )
    assert_features(
        records,
        """
        week  odr_rate_change_8wk
        9     -
        10    -0.125
        11    -0.125
        12    -0.125
        """,
    )


def test_nothing_is_zero_where_discipline_is_reported_and_missing_where_it_is_not():
    records = build_records(
        calendar="""
            school  weeks  days   term  year  reported
            A       1-2    MTWTF  S1    2024  yes
            A       3-12   MTWTF  S1    2024  no
        """,
        discipline="""
            student  day
            s        W9.Tue
        """,
    )
    assert_features(
        records,
        """
        week  odr_count_wk  odr_count_8wk  incident_recency  oss_days_ytd  discipline
        1     0             0              0                 0             yes
        3     -             0              0                 0             yes
        5     -             0              0                 0             yes
        6     -             -              -                 -             no
        9     1             1              1                 0             yes
        10    -             1              0.8825            0             yes
        """,
    )


def test_incidents_count_from_the_week_they_are_known_and_in_breaks_at_the_next_step():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-3    MTWTF  S1    2024
            A       6-12   MTWTF  S1    2024
        """,
        discipline="""
            student  day     known   until
            s        W2.Fri  W3.Mon  W7.Tue
            s        W4.Tue  -       -
            s        W0.Tue  -       -
        """,
    )
    assert_features(
        records,
        """
        week  odr_count_wk  odr_count_ytd  severity_ewma
        2     0             0              0
        3     0             1              0.8409
        6     1             2              1.7071
        7     0             1              0.8409
        """,
    )


def test_severity_decays_by_four_steps_and_by_the_start_of_a_year():
    records = build_records(
        calendar=TWO_YEARS,
        discipline="""
            student  day     severity
            s        W8.Tue  4
        """,
    )
    assert_features(
        records,
        """
        week  severity_ewma  incident_recency  odr_count_ytd  severity_max_8wk
        8     4              1                 1              4
        12    2              0.6065            1              4
        20    0.8409         0.5353            0              0
        """,
    )


def test_sanction_days_are_served_on_days_of_school_up_to_the_cutoff():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-3    MTWTF  S1    2024
            A       4      MT...  S1    2024
            A       6-15   MTWTF  S1    2024
        """,
        discipline="""
            student  day     action  start   days
            s        W3.Tue  OSS     W3.Thu  5
            s        W2.Tue  ISS     -       1.5
            s        W6.Tue  OSS     W6.Wed  -
            s        W6.Tue  detention  W6.Wed  9
        """,
    )
    assert_features(
        records,
        """
        week  iss_days_ytd  oss_days_8wk  oss_days_ytd
        2     1.5           0             0
        3     1.5           2             2
        4     1.5           4             4
        6     1.5           6             6
        10    1.5           6             6
        12    1.5           4             6
        13    1.5           2             6
        14    1.5           0             6
        """,
    )


def test_suspensions_of_earlier_years():
    records = build_records(
        calendar=TWO_YEARS,
        discipline="""
            student  day     action  known    until
            s        W0.Tue  OSS     -        -
            s        W2.Tue  OSS     -        W21.Tue
            s        W3.Tue  ISS     -        -
            s        W5.Tue  OSS     W22.Tue  -
            s        W20.Tue OSS     -        -
        """,
    )
    assert_features(
        records,
        """
        week  oss_count_prior_years
        12    -
        20    2
        21    1
        22    2
        """,
    )
