"""G1 to G15 in small tables."""

from features.compute import FeatureOptions
from tests.fakes.feature_tables import assert_features
from tests.fakes.record_builder import build_records

TWO_TERMS = """
    school  weeks  days   term  year
    A       1-6    MTWTF  S1    2024
    A       7-12   MTWTF  S2    2024
    A       20-24  MTWTF  T1    2025
"""


def test_gpa_waits_for_two_courses_with_two_scores_and_is_carried_into_the_next_term():
    records = build_records(
        calendar=TWO_TERMS,
        grades="""
            student  course  subject  core  term  due     submitted  posted  score
            s        alg     math     yes   S1    W1.Tue  W1.Tue     W1.Fri  95
            s        eng     ela      yes   S1    W1.Wed  W1.Wed     W1.Fri  50
            s        art     other    no    S1    W1.Thu  W1.Thu     W2.Fri  85
            s        alg     math     yes   S1    W2.Tue  W2.Tue     W2.Fri  95
            s        eng     ela      yes   S1    W2.Wed  W2.Wed     W3.Fri  52
            s        alg     math     yes   S2    W7.Tue  W7.Tue     W7.Fri  70
            s        eng     ela      yes   S2    W7.Tue  W7.Tue     W7.Fri  70
            s        alg     math     yes   S2    W8.Tue  W8.Tue     W8.Fri  70
            s        eng     ela      yes   S2    W8.Tue  W8.Tue     W9.Fri  70
        """,
    )
    assert_features(
        records,
        """
        week  gpa_current_term  courses_failing_count  core_courses_failing_count  math_course_avg  ela_course_avg  course
        1     -                 -                      -                           95               50              yes
        2     -                 -                      -                           95               50              yes
        3     2.3333            1                      1                           95               51              yes
        6     2.3333            1                      1                           95               51              yes
        7     2.3333            1                      1                           70               70              yes
        8     2.3333            1                      1                           70               70              yes
        9     1.7               0                      0                           70               70              yes
        20    -                 -                      -                           -                -               no
        """,
    )


def test_averages_are_weighted_by_points_and_the_lowest_of_two_math_courses_counts():
    records = build_records(
        grades="""
            student  course  subject  core  due     submitted  posted  score  points
            s        alg     math     yes   W1.Tue  W1.Tue     W1.Fri  100    1
            s        alg     math     yes   W1.Tue  W1.Tue     W1.Fri  50     4
            s        geo     math     yes   W1.Tue  W1.Tue     W1.Fri  90     1
            s        geo     math     yes   W1.Tue  W1.Tue     W1.Fri  70     1
        """
    )
    assert_features(
        records,
        """
        week  math_course_avg  gpa_current_term  assignment_score_mean_4wk
        1     60               1.7               65.7143
        """,
    )
    assert_features(records, "week courses_failing_count\n1 0")
    assert_features(records, "week courses_failing_count\n1 1", options=FeatureOptions(passing_pct=60.5))
    pass_or_fail = FeatureOptions(grade_point_cutoffs=((70.0, 1.0),))
    assert_features(records, "week gpa_current_term\n1 0.5", options=pass_or_fail)


def test_the_posted_day_gates_a_score_not_the_due_or_the_submitted_day():
    records = build_records(
        grades="""
            student  course  subject  due     submitted  posted  score  known
            s        alg     math     W1.Tue  W1.Tue     W3.Fri  80     -
            s        eng     ela      W1.Tue  W1.Tue     W2.Fri  80     W4.Mon
            s        bio     science  W1.Tue  W1.Tue     -       80     -
        """
    )
    assert_features(
        records,
        """
        week  math_course_avg  ela_course_avg  assignment_score_mean_4wk  items_due_4wk
        1     -                -               -                          2
        2     -                -               -                          2
        3     80               -               80                         2
        4     80               80              80                         3
        """,
    )


def test_district_that_posts_zeros_counts_work_past_due():
    records = build_records(
        grades="""
            student  course  subject  due     submitted  posted  score
            s        alg     math     W1.Tue  W1.Tue     W1.Fri  90
            s        alg     math     W2.Tue  W4.Tue     W5.Fri  60
        """
    )
    assert_features(
        records,
        """
        week  math_course_avg
        1     90
        2     90
        5     75
        """,
    )
    assert_features(
        records,
        """
        week  math_course_avg
        1     90
        2     45
        3     45
        4     90
        5     75
        """,
        options=FeatureOptions(district_posts_zeros=True),
    )


def test_trend_of_the_averages_restarts_with_the_term():
    records = build_records(
        calendar=TWO_TERMS,
        grades="""
            student  course  subject  term  due     submitted  posted  score
            s        alg     math     S1    W1.Tue  W1.Tue     W1.Fri  60
            s        alg     math     S1    W2.Tue  W2.Tue     W2.Fri  80
            s        alg     math     S1    W3.Tue  W3.Tue     W3.Fri  100
            s        eng     ela      S1    W3.Tue  W3.Tue     W3.Fri  100
            s        alg     math     S2    W7.Tue  W7.Tue     W7.Fri  100
        """,
    )
    assert_features(
        records,
        """
        week  course_avg_trend_8wk
        3     -
        4     11
        6     6
        7     -
        9     -
        10    0
        """,
    )


def test_a_corrected_score_changes_the_past_that_later_weeks_see():
    records = build_records(
        grades="""
            student  course  subject  due     submitted  posted  score  known   until
            s        alg     math     W1.Tue  W1.Tue     W1.Fri  50     W1.Mon  W5.Tue
            s        alg     math     W1.Tue  W1.Tue     W1.Fri  90     W5.Tue  -
            s        alg     math     W4.Tue  W4.Tue     W4.Fri  90     W4.Mon  -
        """
    )
    assert_features(
        records,
        """
        week  math_course_avg  course_avg_trend_8wk
        3     50               -
        4     70               6
        5     90               0
        """,
    )


def test_missing_and_late_work():
    records = build_records(
        grades="""
            student  course  due     submitted  posted  score
            s        alg     W1.Tue  W1.Tue     -       -
            s        alg     W1.Thu  W2.Mon     -       -
            s        alg     W2.Thu  -          W3.Fri  75
            s        alg     W2.Fri  -          W3.Fri  0
            s        alg     W3.Fri  W3.Thu     -       -
            s        alg     W9.Fri  -          -       -
        """
    )
    assert_features(
        records,
        """
        week  items_due_4wk  missing_assignment_rate_4wk  late_submission_rate_4wk
        1     2              -                            -
        2     4              0.5                          -
        3     5              0.2                          0.3333
        4     5              0.2                          0.3333
        5     3              0.3333                       -
        7     0              -                            -
        9     1              -                            -
        """,
    )


def test_scores_are_of_work_handed_in_and_are_carried_four_weeks():
    records = build_records(
        grades="""
            student  course  due     submitted  posted  score
            s        alg     W1.Tue  W1.Tue     W1.Fri  60
            s        alg     W1.Tue  W1.Tue     W1.Fri  80
            s        alg     W1.Tue  -          W1.Fri  0
            s        alg     W2.Tue  W2.Tue     W2.Fri  0
            s        alg     W2.Tue  W2.Tue     W2.Fri  100
        """
    )
    assert_features(
        records,
        """
        week  assignment_score_mean_4wk  assignment_score_sd_8wk
        1     70                         -
        2     60                         37.4166
        5     50                         37.4166
        6     50                         37.4166
        9     50                         -
        10    -                          -
        """,
    )


def test_weeks_since_the_last_submission():
    records = build_records(
        grades="""
            student  course  due      submitted
            s        alg     W2.Tue   W2.Tue
            s        alg     W5.Tue   -
            s        alg     W12.Tue  W12.Tue
            s        alg     W13.Tue  -
        """
    )
    assert_features(
        records,
        """
        week  weeks_since_last_submission
        1     -
        2     0
        3     0
        4     0
        5     3
        9     7
        10    8
        11    8
        12    0
        13    1
        """,
    )
    nothing_submitted = build_records(grades="student course due submitted\ns alg W3.Tue -")
    assert_features(
        nothing_submitted,
        """
        week  weeks_since_last_submission
        2     -
        3     3
        10    8
        11    0
        """,
    )


def test_transcript_counts_once_posted_and_known():
    records = build_records(
        calendar=TWO_TERMS,
        grades="""
            student  course  subject  term  due     submitted  posted  score
            s        alg     math     S2    W7.Tue  W7.Tue     W7.Fri  95
            s        alg     math     S2    W7.Tue  W7.Tue     W7.Fri  95
            s        eng     ela      S2    W7.Tue  W7.Tue     W7.Fri  85
            s        eng     ela      S2    W7.Tue  W7.Tue     W7.Fri  85
        """,
        transcript="""
            student  term  course  core  attempted  earned  final  posted  known
            s        S1    alg     yes   1          1       95     W7.Wed  -
            s        S1    eng     yes   0.5        0       50     W7.Wed  W9.Mon
            s        S1    art     no    0.5        0       50     W7.Wed  W9.Mon
            s        S2    alg     yes   1          1       85     W14     -
        """,
    )
    assert_features(
        records,
        """
        week  gpa_cumulative  gpa_change_vs_prior_term  core_semester_f_count  credits_earned_ratio  course
        6     -               -                         -                      -                     no
        7     4               -0.5                      0                      0.3333                yes
        8     4               -0.5                      0                      0.3333                yes
        9     2               1.5                       1                      0.3333                yes
        12    2               1.5                       1                      0.1667                yes
        20    2.3333          -                         1                      0.3333                yes
        """,
    )


def test_credits_expected_before_the_records_only_if_results_of_that_time_are_known():
    enrollments = """
        student  school  grade  entry  exit
        s        A       10     W1     -
    """
    without = build_records(
        calendar=TWO_TERMS,
        enrollments=enrollments,
        transcript="""
            student  term  course  earned  final  posted
            s        S1    alg     3       80     W7
        """,
    )
    assert_features(without, "week credits_earned_ratio\n6 -\n7 1\n12 0.5")
    with_history = build_records(
        calendar=TWO_TERMS,
        enrollments=enrollments,
        transcript="""
            student  term  course  earned  final  posted
            s        old   alg     5       80     W-8
            s        S1    alg     3       80     W7
        """,
    )
    assert_features(with_history, "week credits_earned_ratio\n5 0.8333\n6 0.5556\n7 0.8889")


def test_credits_of_middle_school_do_not_count_in_high_school():
    records = build_records(
        calendar=TWO_TERMS,
        enrollments="""
            student  school  grade  entry  exit
            s        A       8      W1     W13
            s        A       9      W20    -
        """,
        transcript="""
            student  term  course  core  earned  final  posted
            s        S1    alg     yes   1       50     W7
            s        T1    alg     yes   3       80     W24
        """,
    )
    assert_features(
        records,
        """
        week  core_semester_f_count  credits_earned_ratio
        7     1                      -
        20    0                      -
        24    0                      0.5
        """,
    )


def test_a_term_that_is_returned_to_is_carried_as_it_stood_not_as_it_ends():
    records = build_records(
        calendar="""
            school  weeks  days   term  year
            A       1-12   MTWTF  S1    2024
            B       1-12   MTWTF  T1    2024
        """,
        enrollments="""
            student  school  grade  entry  exit
            s        A       9      W1     W3
            s        B       9      W3     W5
            s        A       9      W5     -
        """,
        grades="""
            student  course  subject  term  due     submitted  posted  score  until
            s        alg     math     S1    W1.Tue  W1.Tue     W1.Fri  95     -
            s        alg     math     S1    W1.Wed  W1.Wed     W1.Fri  95     W4.Mon
            s        alg     math     S1    W1.Thu  W1.Thu     W1.Fri  95     -
            s        eng     ela      S1    W1.Tue  W1.Tue     W1.Fri  95     -
            s        eng     ela      S1    W1.Wed  W1.Wed     W1.Fri  65     W4.Mon
            s        eng     ela      S1    W1.Thu  W1.Thu     W1.Fri  95     -
            s        alg     math     S1    W5.Tue  W5.Tue     W5.Fri  0      -
            s        eng     ela      S1    W5.Tue  W5.Tue     W5.Fri  0      -
        """,
    )
    assert_features(
        records,
        """
        week  gpa_current_term  courses_failing_count
        2     3.5               0
        3     3.5               0
        4     4                 0
        5     1                 0
        """,
    )
