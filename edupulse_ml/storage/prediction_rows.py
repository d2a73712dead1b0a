"""Predictions as columns of arrays for one INSERT, and back from rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Final

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import AttentionWeek, Category, Coverage, Prediction, Reason

_PLAIN: Final = (
    "prediction_id",
    "student_id",
    "as_of",
    "created_at",
    "feature_week",
    "model_version",
    "policy_version",
    "risk_score",
    "risk_60plus",
    "category",
)


def prediction_columns(predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
    """Parameters of `save_predictions`: one list per column."""
    columns: dict[str, list[Any]] = {name: [getattr(item, name) for item in predictions] for name in _PLAIN}
    columns["coverage"] = [json.dumps(asdict(item.coverage)) for item in predictions]
    columns["reasons"] = [_reasons_text(item.reasons) for item in predictions]
    columns["protective_factors"] = [_reasons_text(item.protective_factors) for item in predictions]
    columns["attention_weeks"] = [
        json.dumps([{"week": week.week.isoformat(), "weight": week.weight} for week in item.attention_weeks])
        for item in predictions
    ]
    return columns


def prediction_from_row(student_id: StudentId, row: Sequence[Any]) -> Prediction:
    """A row of `history` as the prediction that was saved; moments in UTC."""
    (
        prediction_id,
        as_of,
        created_at,
        feature_week,
        model_version,
        policy_version,
        risk_score,
        risk_60plus,
        category,
        coverage,
        reasons,
        protective_factors,
        attention_weeks,
    ) = row
    checked_category: Category = category
    return Prediction(
        prediction_id=PredictionId(prediction_id),
        student_id=student_id,
        as_of=_in_utc(as_of),
        created_at=_in_utc(created_at),
        feature_week=feature_week,
        model_version=ModelVersion(model_version),
        policy_version=policy_version,
        risk_score=risk_score,
        risk_60plus=risk_60plus,
        category=checked_category,
        coverage=Coverage(**coverage),
        reasons=_reasons(reasons),
        protective_factors=_reasons(protective_factors),
        attention_weeks=tuple(AttentionWeek(date.fromisoformat(w["week"]), w["weight"]) for w in attention_weeks),
    )


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _reasons_text(reasons: tuple[Reason, ...] | None) -> str | None:
    return None if reasons is None else json.dumps([asdict(reason) for reason in reasons])


def _reasons(stored: Sequence[Mapping[str, Any]] | None) -> tuple[Reason, ...] | None:
    return None if stored is None else tuple(Reason(**reason) for reason in stored)
