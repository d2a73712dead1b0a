"""Answers as one parameter for one statement, and predictions back from rows."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from edupulse_ml.core.challenge import ShadowPrediction
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import (
    AttentionWeek,
    Category,
    Coverage,
    InsufficientData,
    ModelRole,
    Prediction,
    Reason,
)


def answer_rows(answers: Sequence[Prediction | InsufficientData], *, request_ids: Sequence[str]) -> str:
    """The parameter `rows` of `save_answers`: a JSON array with one object per answer, which costs a fraction of an
    array parameter per column.
    """
    rows = [_answer_row(answer, request_id) for answer, request_id in zip(answers, request_ids, strict=True)]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def _answer_row(answer: Prediction | InsufficientData, request_id: str) -> dict[str, object]:
    row: dict[str, object] = {"student_id": answer.student_id, "outcome": answer.status, "request_id": request_id}
    if isinstance(answer, Prediction):
        row |= {
            "prediction_id": answer.prediction_id,
            "as_of": answer.as_of.isoformat(),
            "created_at": answer.created_at.isoformat(),
            "feature_week": answer.feature_week.isoformat(),
            "model_version": answer.model_version,
            "policy_version": answer.policy_version,
            "risk_score": answer.risk_score,
            "risk_60plus": answer.risk_60plus,
            "category": answer.category,
            "coverage": vars(answer.coverage),
            "reasons": _plain_reasons(answer.reasons),
            "protective_factors": _plain_reasons(answer.protective_factors),
            "attention_weeks": [
                {"week": week.week.isoformat(), "weight": week.weight} for week in answer.attention_weeks
            ],
            "role": answer.role,
            "challenge_id": answer.challenge_id,
        }
    return row


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
        role,
        challenge_id,
    ) = row
    checked_category: Category = category
    checked_role: ModelRole = role
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
        role=checked_role,
        challenge_id=challenge_id,
    )


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _plain_reasons(reasons: tuple[Reason, ...] | None) -> list[dict[str, Any]] | None:
    return None if reasons is None else [vars(reason) for reason in reasons]


def _reasons(stored: Sequence[Mapping[str, Any]] | None) -> tuple[Reason, ...] | None:
    return None if stored is None else tuple(Reason(**reason) for reason in stored)


def shadow_rows(shadows: Sequence[ShadowPrediction]) -> str:
    """The parameter `rows` of `save_shadows`, made as that of `save_answers` is."""
    rows = [
        {
            "student_id": shadow.said.student_id,
            "prediction_id": shadow.said.prediction_id,
            "beside_prediction_id": shadow.beside.prediction_id,
            "as_of": shadow.beside.as_of.isoformat(),
            "created_at": shadow.said.created_at.isoformat(),
            "feature_week": shadow.said.feature_week.isoformat(),
            "model_version": shadow.said.model_version,
            "policy_version": shadow.said.policy_version,
            "risk_score": shadow.said.risk_score,
            "risk_60plus": shadow.said.risk_60plus,
            "category": shadow.said.category,
            "answered_version": shadow.beside.model_version,
            "answered_risk_score": shadow.beside.risk_score,
            "answered_risk_60plus": shadow.beside.risk_60plus,
            "answered_category": shadow.beside.category,
        }
        for shadow in shadows
    ]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)
