"""Catalogue entries G1 to G15."""

from typing import Final

from features.catalog_entry import CatalogEntry

COURSE: Final = (
    CatalogEntry(
        "G1",
        "gpa_current_term",
        "Mean grade points (4.0 scale) of the running averages of the student's courses, in the latest term of this "
        "year so far in which at least 2 courses have at least 2 posted scores. At the start of a term it is "
        "therefore the GPA of the term before, carried inside the school year only.",
        "grade points",
        0,
        4,
        "no such term yet this year",
        "best family of cross-sectional flags: D average 28 %, B average 93 % graduate",
    ),
    CatalogEntry(
        "G2",
        "gpa_cumulative",
        "Mean grade points of all posted transcript results, weighted by credits attempted.",
        "grade points",
        0,
        4,
        "no posted result with a percentage and credits",
        "as G1",
        crosses_years=True,
    ),
    CatalogEntry(
        "G3",
        "gpa_change_vs_prior_term",
        "G1 minus the transcript GPA of the last closed term other than the one G1 is of. The last term is the one "
        "posted last, of several the one that ends last.",
        "grade points",
        -4,
        4,
        "G1 is missing, or no other term is closed",
        "growth of the non-cumulative GPA (AUC .869)",
        crosses_years=True,
    ),
    CatalogEntry(
        "G4",
        "course_avg_trend_8wk",
        "Least-squares slope of the mean running course average over the last 8 weeks of the current term. The mean "
        "of an earlier week is made of the scores posted by then, as known now.",
        "percentage points per week",
        -150,
        150,
        "averages of fewer than 4 weeks of the term",
        "trajectories",
    ),
    CatalogEntry(
        "G5",
        "courses_failing_count",
        "Courses of G1's term whose running average is below the passing line.",
        "courses",
        0,
        None,
        "as G1",
        "three or more Fs: precision .806, sensitivity .648",
    ),
    CatalogEntry(
        "G6",
        "core_courses_failing_count",
        "The same among core courses.",
        "courses",
        0,
        None,
        "as G1",
        "on-track rule: Fs in core courses",
    ),
    CatalogEntry(
        "G7",
        "math_course_avg",
        "Running average in mathematics in the current term, the lowest of several.",
        "percent",
        0,
        150,
        "no score in mathematics in the current term",
        "mathematics (Balfanz); algebra in grade 9: precision .65, sensitivity .79",
    ),
    CatalogEntry(
        "G8",
        "ela_course_avg",
        "Running average in English in the current term, the lowest of several.",
        "percent",
        0,
        150,
        "no score in English in the current term",
        "English (Balfanz)",
    ),
    CatalogEntry(
        "G9",
        "missing_assignment_rate_4wk",
        "Items that fell due in 4 weeks and are not handed in, divided by items that fell due.",
        "share",
        0,
        1,
        "fewer than 3 items due",
        "missing due work is the strongest feature on OULAD",
    ),
    CatalogEntry(
        "G10",
        "late_submission_rate_4wk",
        "Items that fell due in 4 weeks and were submitted after their due day, divided by those submitted.",
        "share",
        0,
        1,
        "fewer than 3 of them submitted",
        "engagement",
    ),
    CatalogEntry(
        "G11",
        "assignment_score_mean_4wk",
        "Mean of the scores posted in 4 weeks for work that was handed in, weighted by points. Without any, the mean "
        "of the latest week with such scores, up to 4 weeks further back.",
        "percent",
        0,
        150,
        "no such score in 8 weeks",
        "separates ability from not handing in",
    ),
    CatalogEntry(
        "G12",
        "assignment_score_sd_8wk",
        "Standard deviation (of the population) of such scores posted in 8 weeks.",
        "percentage points",
        0,
        75,
        "fewer than 4 scores",
        "volatility",
    ),
    CatalogEntry(
        "G13",
        "credits_earned_ratio",
        "Credits earned in closed terms since grade 9, divided by the credits of the terms that the school's calendar "
        "has closed since the cohort entered grade 9 (credits per year spread evenly over the year's terms). The "
        "cohort entered in the school year of the student's first step in grade 9, else reckoned from the first "
        "step. Years and terms before the records are expected only if results of that time are known; a term in no "
        "calendar belongs to that time.",
        "share",
        0,
        None,
        "outside grades 9 to 12, no term closed, or no result of these grades known",
        "on-track; fewer than 10 credits in grade 10: precision .546, specificity .983; carries retention",
        crosses_years=True,
    ),
    CatalogEntry(
        "G14",
        "core_semester_f_count",
        "Results below the passing line in core courses of closed terms since grade 9, in grades 6 to 8 since grade 6, "
        "below grade 6 of all terms; 0 before the first closed term.",
        "results",
        0,
        None,
        "no transcript result and nothing of courses known (course mask)",
        "on-track rule: more than one",
        crosses_years=True,
    ),
    CatalogEntry(
        "G15",
        "weeks_since_last_submission",
        "Instructional weeks since the last submission of this year (without one, since the year began), counted up "
        "to 8; 0 if nothing was due in that time.",
        "weeks",
        0,
        8,
        "nothing due and nothing submitted this year",
        "withdrawal of effort",
    ),
)
