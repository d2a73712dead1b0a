"""Answers about one student: a prediction, or the statement that there is too little data for one."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId

Category = Literal["low", "moderate", "high", "critical"]
ModelRole = Literal["champion", "challenger"]
"""In what capacity a model answers."""
CATEGORIES: tuple[Category, ...] = ("low", "moderate", "high", "critical")


@dataclass(frozen=True)
class CategoryPolicy:
    """Lower bounds on the calibrated `risk_score`; a category is a function of the score and this policy alone."""

    version: str
    moderate_from: float
    high_from: float
    critical_from: float

    def categorise(self, risk_score: float) -> Category:
        if risk_score >= self.critical_from:
            return "critical"
        if risk_score >= self.high_from:
            return "high"
        if risk_score >= self.moderate_from:
            return "moderate"
        return "low"

    def positions(self, risk_score: NDArray[np.floating]) -> NDArray[np.int8]:
        """The categories of many scores as positions in `CATEGORIES`."""
        bounds = np.asarray((self.moderate_from, self.high_from, self.critical_from))
        return np.searchsorted(bounds, risk_score, side="right").astype(np.int8)


@dataclass(frozen=True)
class Reason:
    """One verified reason. `effect` is its share of the logit against the typical student of that week; positive
    raises the risk. `text` is the sentence a counselor reads.
    """

    concept: str
    text: str
    effect: float


@dataclass(frozen=True)
class AttentionWeek:
    """A week the model weighted most. Not a reason (sources.md 5.1)."""

    week: date
    weight: float


@dataclass(frozen=True)
class Coverage:
    """Per modality: share (0-1) of the window's weeks with records."""

    attendance: float
    course: float
    discipline: float
    weeks: int


@dataclass(frozen=True)
class Prediction:
    """A stored risk prediction. `feature_week` is the Monday of the last week the model saw."""

    prediction_id: PredictionId
    student_id: StudentId
    as_of: datetime
    created_at: datetime
    feature_week: date
    model_version: ModelVersion
    policy_version: str
    risk_score: float
    risk_60plus: float
    category: Category
    coverage: Coverage
    reasons: tuple[Reason, ...] | None = None
    """None when reasons were not asked for; empty when none could be verified."""
    protective_factors: tuple[Reason, ...] | None = None
    attention_weeks: tuple[AttentionWeek, ...] = ()
    role: ModelRole = "champion"
    challenge_id: str | None = None
    """The challenge that split the students between two models when this was answered; None: none did."""
    status: Literal["scored"] = "scored"


@dataclass(frozen=True)
class InsufficientData:
    """Why a student is not scored. `missing` holds sentences such as "fewer than 4 weeks of records (2)"."""

    student_id: StudentId
    as_of: datetime
    missing: tuple[str, ...]
    coverage: Coverage | None = None
    status: Literal["insufficient_data"] = field(default="insufficient_data")
