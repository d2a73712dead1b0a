"""The 42 features grouped into the dozen concepts that a counselor can act on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURE_INDEX, Modality


@dataclass(frozen=True)
class Concept:
    """A named group of features. Every feature belongs to exactly one."""

    name: str
    modality: Modality
    features: tuple[str, ...]

    @cached_property
    def positions(self) -> NDArray[np.intp]:
        """Positions of the features in the contract."""
        return np.array([FEATURE_INDEX[name] for name in self.features], dtype=np.intp)


CONCEPTS: Final[tuple[Concept, ...]] = (
    Concept(
        "recent absences",
        "attendance",
        ("absence_rate_wk", "absence_rate_4wk", "absence_streak_current"),
    ),
    Concept("absences rising", "attendance", ("absence_rate_change", "absence_trend_8wk")),
    Concept(
        "chronic absence",
        "attendance",
        ("absence_rate_ytd", "chronic_absence_tier", "absence_streak_max_ytd", "absence_rate_prior_year"),
    ),
    Concept(
        "unexcused absence",
        "attendance",
        ("unexcused_absence_rate_4wk", "unexcused_share_ytd", "mon_fri_prebreak_absence_share_ytd"),
    ),
    Concept("tardiness and missed classes", "attendance", ("tardy_rate_4wk", "partial_day_absence_rate_4wk")),
    Concept(
        "missing work",
        "course",
        ("missing_assignment_rate_4wk", "late_submission_rate_4wk", "weeks_since_last_submission"),
    ),
    Concept(
        "failing courses",
        "course",
        ("courses_failing_count", "core_courses_failing_count", "math_course_avg", "ela_course_avg"),
    ),
    Concept(
        "current grades",
        "course",
        ("gpa_current_term", "assignment_score_mean_4wk", "assignment_score_sd_8wk"),
    ),
    Concept("grades falling", "course", ("gpa_change_vs_prior_term", "course_avg_trend_8wk")),
    Concept("credits and record", "course", ("gpa_cumulative", "credits_earned_ratio", "core_semester_f_count")),
    Concept(
        "discipline referrals",
        "discipline",
        (
            "odr_count_wk",
            "odr_count_8wk",
            "odr_count_ytd",
            "odr_rate_change_8wk",
            "objective_incident_count_ytd",
            "major_incident_count_8wk",
            "severity_max_8wk",
            "severity_ewma",
            "incident_recency",
        ),
    ),
    Concept(
        "suspensions",
        "discipline",
        ("iss_days_ytd", "oss_days_8wk", "oss_days_ytd", "oss_count_prior_years"),
    ),
)


def by_concept(attribution: NDArray[np.float32]) -> NDArray[np.float32]:
    """Attributions [B, T, F] summed over weeks and member features: [B, concepts]."""
    by_feature = attribution.sum(axis=1)
    return np.stack([by_feature[:, concept.positions].sum(axis=1) for concept in CONCEPTS], axis=1)
