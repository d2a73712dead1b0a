"""The contract between features and models: names, order, transforms and window.

A model artefact carries the contract it was trained with; serving refuses arrays that do not match it
(`FeatureContract.require_match`). Definitions in words live in `features/catalog.py`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from edupulse_ml.core.errors import ContractMismatchError

Modality = Literal["attendance", "course", "discipline"]
MODALITIES: Final[tuple[Modality, ...]] = ("attendance", "course", "discipline")

Transform = Literal["identity", "log1p", "affine", "minus_support"]


@dataclass(frozen=True)
class FeatureColumn:
    """One of the 42 features, as a model needs to know it.

    `transform` is applied before standardising: `affine` is `x * scale + offset`, `minus_support` subtracts the
    support column. `shrink_m` > 0 marks a rate that the *model* shrinks towards its own frozen prior `p0`:
    `(x * n + m * p0) / (n + m)`, where `n` is the column `support` of the support array.
    `monotone` is +1 where more of it can only raise the risk, -1 where it can only lower it, else 0
    (sources.md 6.1).
    """

    name: str
    modality: Modality
    transform: Transform = "identity"
    scale: float = 1.0
    offset: float = 0.0
    support: str | None = None
    shrink_m: float = 0.0
    monotone: int = 0


SUPPORT_COLUMNS: Final[tuple[str, ...]] = (
    "days_enrolled_4wk",
    "days_enrolled_ytd",
    "days_present_4wk",
    "items_due_4wk",
    "mon_fri_prebreak_expected_share",
)
"""Denominators stored beside the features: (4 counts, 1 share). NaN where the feature they support is NaN."""

AUX_COLUMNS: Final[tuple[str, ...]] = ("weeks_since_prev_step_log1p", "week_of_school_year", "enrolled_days_ytd")
"""Step channels beside masks: log1p(calendar weeks since the previous step), week/40, days/180."""

CONTEXT_COLUMNS: Final[tuple[str, ...]] = (
    "grade_level",
    "over_age_years",
    "entered_midyear",
    "schools_attended_count",
)
"""One value per student, as known at the last step. NaN where unknown."""


def _attendance(name: str, **kw: object) -> FeatureColumn:
    return FeatureColumn(name, "attendance", **kw)  # pyright: ignore[reportArgumentType]


def _course(name: str, **kw: object) -> FeatureColumn:
    return FeatureColumn(name, "course", **kw)  # pyright: ignore[reportArgumentType]


def _discipline(name: str, **kw: object) -> FeatureColumn:
    return FeatureColumn(name, "discipline", **kw)  # pyright: ignore[reportArgumentType]


FEATURES: Final[tuple[FeatureColumn, ...]] = (
    _attendance("absence_rate_wk"),
    _attendance("absence_rate_4wk", support="days_enrolled_4wk", shrink_m=5.0, monotone=1),
    _attendance("absence_rate_ytd", support="days_enrolled_ytd", shrink_m=5.0, monotone=1),
    _attendance("chronic_absence_tier", transform="affine", scale=1 / 3, monotone=1),
    _attendance("absence_rate_change"),
    _attendance("absence_trend_8wk", transform="affine", scale=8.0),
    _attendance("unexcused_absence_rate_4wk", support="days_enrolled_4wk", shrink_m=5.0, monotone=1),
    _attendance("unexcused_share_ytd"),
    _attendance("absence_streak_current", transform="log1p", monotone=1),
    _attendance("absence_streak_max_ytd", transform="log1p"),
    _attendance("tardy_rate_4wk", support="days_present_4wk", shrink_m=5.0),
    _attendance("partial_day_absence_rate_4wk"),
    _attendance(
        "mon_fri_prebreak_absence_share_ytd", transform="minus_support", support="mon_fri_prebreak_expected_share"
    ),
    _attendance("absence_rate_prior_year"),
    _course("gpa_current_term", monotone=-1),
    _course("gpa_cumulative", monotone=-1),
    _course("gpa_change_vs_prior_term"),
    _course("course_avg_trend_8wk", transform="affine", scale=0.5),
    _course("courses_failing_count", transform="log1p", monotone=1),
    _course("core_courses_failing_count", transform="log1p", monotone=1),
    _course("math_course_avg", transform="affine", scale=1 / 25, offset=-3.0, monotone=-1),
    _course("ela_course_avg", transform="affine", scale=1 / 25, offset=-3.0, monotone=-1),
    _course("missing_assignment_rate_4wk", support="items_due_4wk", shrink_m=4.0, monotone=1),
    _course("late_submission_rate_4wk"),
    _course("assignment_score_mean_4wk", transform="affine", scale=1 / 25, offset=-3.0),
    _course("assignment_score_sd_8wk", transform="affine", scale=1 / 15),
    _course("credits_earned_ratio", monotone=-1),
    _course("core_semester_f_count", transform="log1p", monotone=1),
    _course("weeks_since_last_submission", transform="log1p", monotone=1),
    _discipline("odr_count_wk", transform="log1p"),
    _discipline("odr_count_8wk", transform="log1p"),
    _discipline("odr_count_ytd", transform="log1p", monotone=1),
    _discipline("odr_rate_change_8wk"),
    _discipline("objective_incident_count_ytd", transform="log1p"),
    _discipline("major_incident_count_8wk", transform="log1p"),
    _discipline("severity_max_8wk", transform="affine", scale=1 / 5),
    _discipline("severity_ewma", transform="log1p"),
    _discipline("iss_days_ytd", transform="log1p"),
    _discipline("oss_days_8wk", transform="log1p"),
    _discipline("oss_days_ytd", transform="log1p", monotone=1),
    _discipline("incident_recency"),
    _discipline("oss_count_prior_years"),
)
"""The 42 features in their one order: 14 attendance, 15 course performance, 13 discipline."""

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(column.name for column in FEATURES)
FEATURE_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(FEATURE_NAMES)}
SUPPORT_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(SUPPORT_COLUMNS)}


def modality_slice(modality: Modality) -> slice:
    """Positions of one modality's features in `FEATURES`."""
    positions = [index for index, column in enumerate(FEATURES) if column.modality == modality]
    return slice(positions[0], positions[-1] + 1)


@dataclass(frozen=True)
class FeatureContract:
    """What a model was trained on. Two contracts match when every field is equal."""

    version: str
    feature_names: tuple[str, ...]
    support_names: tuple[str, ...]
    aux_names: tuple[str, ...]
    context_names: tuple[str, ...]
    window_weeks: int
    objective_discipline_only: bool = False

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any field."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def require_match(self, other: "FeatureContract") -> None:
        """Return if `other` equals this contract.

        Raises:
            ContractMismatchError: a field differs; the message names the fields.
        """
        mine, theirs = asdict(self), asdict(other)
        differing = [key for key in mine if mine[key] != theirs[key]]
        if differing:
            msg = f"The model's feature contract differs from the store's in {', '.join(differing)}: retrain or materialise again."
            raise ContractMismatchError(msg)


CONTRACT_VERSION: Final = "1"


def current_contract(*, window_weeks: int = 20, objective_discipline_only: bool = False) -> FeatureContract:
    """The contract of this release."""
    return FeatureContract(
        version=CONTRACT_VERSION,
        feature_names=FEATURE_NAMES,
        support_names=SUPPORT_COLUMNS,
        aux_names=AUX_COLUMNS,
        context_names=CONTEXT_COLUMNS,
        window_weeks=window_weeks,
        objective_discipline_only=objective_discipline_only,
    )
