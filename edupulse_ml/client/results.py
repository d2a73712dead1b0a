"""What the client returns: frozen and typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import AttentionWeek, Category, Coverage, InsufficientData, Reason


@dataclass(frozen=True)
class ScoredStudent:
    """A prediction. `support_need` says what the category means; `attention_weeks` are no reasons."""

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
    support_need: str
    coverage: Coverage
    reasons: tuple[Reason, ...] | None
    """None when they were not asked for; empty when none could be verified."""
    protective_factors: tuple[Reason, ...] | None
    attention_weeks: tuple[AttentionWeek, ...]
    status: Literal["scored"] = "scored"


@dataclass(frozen=True)
class FailedStudent:
    """A student of a batch who could not be answered. `http_status` is the one that a single request would get."""

    student_id: StudentId
    http_status: int
    title: str
    detail: str
    status: Literal["error"] = "error"


Answer = ScoredStudent | InsufficientData
BatchAnswer = ScoredStudent | InsufficientData | FailedStudent


@dataclass(frozen=True)
class CurrentModel:
    """The model that answers now. `swap_failure` says why the one `wanted` is not it; None where it is."""

    model_version: ModelVersion
    wanted: str
    policy_version: str | None
    contract_fingerprint: str | None
    loaded_at: datetime | None
    swap_failure: str | None


@dataclass(frozen=True)
class ConceptChange:
    """A concept that moved the score: `effect` in logits is what the score would lose had it alone stayed as it was. `text`
    compares now and then, None where no single figure shows it.
    """

    concept: str
    text: str | None
    effect: float


@dataclass(frozen=True)
class ChangePart:
    """One part of a move: `new_records`, `left_window`, `corrected_records` or `new_model`."""

    part: str
    text: str
    logit: float
    probability: float
    concepts: tuple[ConceptChange, ...]


@dataclass(frozen=True)
class ComparedPrediction:
    """One of the two predictions that are compared; `history` has all of it."""

    prediction_id: PredictionId
    as_of: datetime
    created_at: datetime
    feature_week: date
    model_version: ModelVersion
    risk_score: float
    category: Category


@dataclass(frozen=True)
class ScoreChanges:
    """What moved a student's score from one stored prediction to another; the parts sum to `logit` and `probability`."""

    student_id: StudentId
    before: ComparedPrediction
    after: ComparedPrediction
    logit: float
    probability: float
    parts: tuple[ChangePart, ...]


def parse_answer(body: Mapping[str, Any]) -> Answer:
    """One answer of `/api/v1/predict`."""
    return _insufficient(body) if body["status"] == "insufficient_data" else parse_scored(body)


def parse_batch_item(body: Mapping[str, Any], student_id: str) -> BatchAnswer:
    """One result of a batch; `student_id` is the one asked for, which the service does not repeat if it is invalid."""
    if body["status"] != "error":
        return parse_answer(body)
    problem = body["problem"]
    return FailedStudent(StudentId(student_id), problem["status"], problem["title"], problem["detail"])


def parse_scored(body: Mapping[str, Any]) -> ScoredStudent:
    """One prediction."""
    return ScoredStudent(
        prediction_id=PredictionId(body["prediction_id"]),
        student_id=StudentId(body["student_id"]),
        as_of=datetime.fromisoformat(body["as_of"]),
        created_at=datetime.fromisoformat(body["created_at"]),
        feature_week=date.fromisoformat(body["feature_week"]),
        model_version=ModelVersion(body["model_version"]),
        policy_version=body["policy_version"],
        risk_score=body["risk_score"],
        risk_60plus=body["risk_60plus"],
        category=body["category"],
        support_need=body["support_need"],
        coverage=_coverage(body["coverage"]),
        reasons=_reasons(body["reasons"]),
        protective_factors=_reasons(body["protective_factors"]),
        attention_weeks=tuple(
            AttentionWeek(date.fromisoformat(week["week"]), week["weight"]) for week in body["attention_weeks"]["weeks"]
        ),
    )


def parse_model(body: Mapping[str, Any]) -> CurrentModel:
    """The answer of `/api/v1/models/current`."""
    loaded_at = body["loaded_at"]
    return CurrentModel(
        model_version=ModelVersion(body["model_version"]),
        wanted=body["wanted"],
        policy_version=body["policy_version"],
        contract_fingerprint=body["contract_fingerprint"],
        loaded_at=datetime.fromisoformat(loaded_at) if loaded_at else None,
        swap_failure=body["swap_failure"],
    )


def parse_changes(body: Mapping[str, Any]) -> ScoreChanges:
    """The answer of `/api/v1/predict/changes`."""
    return ScoreChanges(
        student_id=StudentId(body["student_id"]),
        before=_compared(body["before"]),
        after=_compared(body["after"]),
        logit=body["change"]["logit"],
        probability=body["change"]["probability"],
        parts=tuple(
            ChangePart(
                part=item["part"],
                text=item["text"],
                logit=item["logit"],
                probability=item["probability"],
                concepts=tuple(ConceptChange(c["concept"], c["text"], c["effect"]) for c in item["concepts"]),
            )
            for item in body["parts"]
        ),
    )


def _compared(body: Mapping[str, Any]) -> ComparedPrediction:
    return ComparedPrediction(
        prediction_id=PredictionId(body["prediction_id"]),
        as_of=datetime.fromisoformat(body["as_of"]),
        created_at=datetime.fromisoformat(body["created_at"]),
        feature_week=date.fromisoformat(body["feature_week"]),
        model_version=ModelVersion(body["model_version"]),
        risk_score=body["risk_score"],
        category=body["category"],
    )


def _insufficient(body: Mapping[str, Any]) -> InsufficientData:
    coverage = body["coverage"]
    return InsufficientData(
        student_id=StudentId(body["student_id"]),
        as_of=datetime.fromisoformat(body["as_of"]),
        missing=tuple(body["missing"]),
        coverage=_coverage(coverage) if coverage else None,
    )


def _coverage(body: Mapping[str, Any]) -> Coverage:
    return Coverage(
        attendance=body["attendance"], course=body["course"], discipline=body["discipline"], weeks=body["weeks"]
    )


def _reasons(body: list[Mapping[str, Any]] | None) -> tuple[Reason, ...] | None:
    if body is None:
        return None
    return tuple(Reason(item["concept"], item["text"], item["effect"]) for item in body)
