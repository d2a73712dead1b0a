"""What the hops said of a batch, as one answer per student."""

from collections.abc import Callable, Iterator
from datetime import datetime

import numpy as np

from deployments.messages import Answer, FetchRequest, ModelScores, ScoredStudents, UnknownStudent
from edupulse_ml.core.ids import PredictionId
from edupulse_ml.core.predictions import CATEGORIES, AttentionWeek, InsufficientData, ModelRole, Prediction
from edupulse_ml.core.weeks import day_from_number


def batch_answers(
    request: FetchRequest,
    scored: ScoredStudents,
    *,
    new_id: Callable[[], PredictionId],
    created_at: datetime,
    role: ModelRole = "champion",
    challenge_id: str | None = None,
) -> Iterator[Answer]:
    """One answer per student of `request`, in its order."""
    scores = scored.scores
    attention = _attention_weeks(scores)
    risks = zip(scores.risk_score.tolist(), scores.risk_60plus.tolist(), scores.categories.tolist(), strict=True)
    rows = enumerate(risks)
    for student_id, student in zip(request.student_ids, scored.students, strict=True):
        if student.status == "unknown_student":
            yield UnknownStudent(student_id)
            continue
        if student.status == "insufficient" or student.feature_week is None or student.coverage is None:
            yield InsufficientData(student_id, request.as_of, student.missing, student.coverage)
            continue
        row, (risk_score, risk_60plus, category) = next(rows)
        explanation = scores.explanations.get(row)
        yield Prediction(
            prediction_id=new_id(),
            student_id=student_id,
            as_of=request.as_of,
            created_at=created_at,
            feature_week=day_from_number(student.feature_week),
            model_version=scored.model_version,
            policy_version=scored.policy_version,
            risk_score=risk_score,
            risk_60plus=risk_60plus,
            category=CATEGORIES[category],
            coverage=student.coverage,
            reasons=explanation.reasons if explanation else None,
            protective_factors=explanation.protective_factors if explanation else None,
            attention_weeks=attention[row],
            role=role,
            challenge_id=challenge_id,
        )


def _attention_weeks(scores: ModelScores) -> list[tuple[AttentionWeek, ...]]:
    date_of = {week: day_from_number(week) for week in np.unique(scores.attention_week).tolist() if week >= 0}
    return [
        tuple(AttentionWeek(date_of[week], weight) for week, weight in zip(weeks, weights, strict=True) if week >= 0)
        for weeks, weights in zip(scores.attention_week.tolist(), scores.attention_weight.tolist(), strict=True)
    ]
