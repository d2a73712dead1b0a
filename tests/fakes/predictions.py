"""Made-up predictions, every field filled."""

from datetime import UTC, date, datetime
from uuid import UUID

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import AttentionWeek, Coverage, InsufficientData, Prediction, Reason

MOMENT = datetime(2025, 3, 3, 12, tzinfo=UTC)


def prediction(number: int, *, student: str = "s1", created_at: datetime = MOMENT, **changes) -> Prediction:
    """Prediction `number`; equal numbers have equal ids."""
    fields = {
        "prediction_id": PredictionId(str(UUID(int=number))),
        "student_id": StudentId(student),
        "as_of": MOMENT,
        "created_at": created_at,
        "feature_week": date(2025, 2, 24),
        "model_version": ModelVersion("7"),
        "policy_version": "2",
        "risk_score": 0.1 + 0.2,
        "risk_60plus": 1 / 3,
        "category": "high",
        "coverage": Coverage(1.0, 0.5, 0.0, 20),
        "reasons": (Reason("absence", "Missed 9 of 20 days", 0.71),),
        "protective_factors": (),
        "attention_weeks": (AttentionWeek(date(2025, 2, 17), 0.25),),
        **changes,
    }
    return Prediction(**fields)


def insufficient(*, student: str = "s2") -> InsufficientData:
    """A student without enough records."""
    return InsufficientData(StudentId(student), MOMENT, ("2 weeks of records, 4 are needed",))
