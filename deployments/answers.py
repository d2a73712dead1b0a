"""Predictions as bytes for the cache."""

import json
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import AttentionWeek, Coverage, Prediction, Reason


def _plain(value: object) -> str:
    if isinstance(value, date):  # a datetime is a date
        return value.isoformat()
    msg = f"a {type(value).__name__} cannot be cached"
    raise TypeError(msg)


def encode_prediction(prediction: Prediction) -> bytes:
    """JSON of a prediction; inverse of `decode_prediction`."""
    return json.dumps(asdict(prediction), default=_plain, separators=(",", ":")).encode()


def decode_prediction(data: bytes) -> Prediction | None:
    """The prediction, or None where the bytes were written by another release."""
    try:
        return _prediction(json.loads(data))
    except (ValueError, KeyError, TypeError):
        return None


def _reasons(plain: list[dict[str, Any]] | None) -> tuple[Reason, ...] | None:
    return None if plain is None else tuple(Reason(**reason) for reason in plain)


def _prediction(plain: dict[str, Any]) -> Prediction:
    return Prediction(
        prediction_id=PredictionId(plain["prediction_id"]),
        student_id=StudentId(plain["student_id"]),
        as_of=datetime.fromisoformat(plain["as_of"]),
        created_at=datetime.fromisoformat(plain["created_at"]),
        feature_week=date.fromisoformat(plain["feature_week"]),
        model_version=ModelVersion(plain["model_version"]),
        policy_version=plain["policy_version"],
        risk_score=plain["risk_score"],
        risk_60plus=plain["risk_60plus"],
        category=plain["category"],
        coverage=Coverage(**plain["coverage"]),
        reasons=_reasons(plain["reasons"]),
        protective_factors=_reasons(plain["protective_factors"]),
        attention_weeks=tuple(
            AttentionWeek(date.fromisoformat(week["week"]), week["weight"]) for week in plain["attention_weeks"]
        ),
    )
