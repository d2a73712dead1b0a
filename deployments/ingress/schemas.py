"""Requests and answers of the HTTP API."""

import re
from datetime import date, datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from deployments.ingress.problems import Problem
from edupulse_ml.core.predictions import Category, InsufficientData, Prediction, Reason
from edupulse_ml.core.tables import MAX_TEXT_LENGTH

PREDICT_PATH: Final = "/api/v1/predict"
BATCH_PATH: Final = "/api/v1/predict/batch"
MAX_STUDENT_ID_LENGTH: Final = MAX_TEXT_LENGTH
STUDENT_ID_PATTERN: Final = r"^[^\x00-\x1f\x7f]+$"
MAX_BATCH: Final = 100
MAX_HISTORY: Final = 500

StudentIdText = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_STUDENT_ID_LENGTH, pattern=STUDENT_ID_PATTERN)
]
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII)
_NOT_A_MOMENT: Final = "Give a date (YYYY-MM-DD) or a moment with a time zone (2026-03-02T08:00:00Z)"


def _date_or_moment(value: object) -> object:
    """Reads only what cannot be mistaken: numbers are no moments, and a time without a zone is none either."""
    if value is None or isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and DATE.fullmatch(value):
            return date.fromisoformat(value)
        if isinstance(value, str) and MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    except ValueError:
        pass  # its message would repeat the value
    raise PydanticCustomError("as_of", _NOT_A_MOMENT)


AsOf = Annotated[
    AwareDatetime | date | None,
    BeforeValidator(_date_or_moment),
    Field(
        description="Score with what was known then: a moment with a time zone, or a date (the end of that day in the "
        "district's zone). Left out: now.",
        examples=["2026-03-02"],
    ),
]

SUPPORT_NEED: Final[dict[Category, str]] = {
    "low": "no extra support indicated",
    "moderate": "worth a check-in",
    "high": "support recommended",
    "critical": "support recommended first",
}
"""What a category means: a need for support among this district's students, not a verdict about one of them."""

ATTENTION_LABEL: Final = "weeks the model weighted most; not reasons"


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictRequest(_Request):
    """One student."""

    student_id: StudentIdText = Field(description="The district's own id.", examples=["S000123"])
    as_of: AsOf = None
    include_reasons: bool = Field(default=True, description="Reasons and protective factors cost some milliseconds.")


class BatchRequest(_Request):
    """Up to 100 students, answered in this order. An id that cannot be used fails alone."""

    student_ids: list[str] = Field(min_length=1, max_length=MAX_BATCH, examples=[["S000123", "S000124"]])
    as_of: AsOf = None
    include_reasons: bool = Field(default=True, description="Reasons and protective factors for every student.")


class ReasonOut(BaseModel):
    """One verified reason, worded for a counselor."""

    concept: str = Field(examples=["absences rising"])
    text: str = Field(examples=["Missed 6 of the last 20 days; typical for grade 9 at this time of year: 1."])
    effect: float = Field(description="Share of the logit against the typical student of that week; + raises the risk.")


class AttentionWeekOut(BaseModel):
    """A week and its weight (0-1)."""

    week: date
    weight: float


class AttentionOut(BaseModel):
    """Where the model looked."""

    label: Literal["weeks the model weighted most; not reasons"] = ATTENTION_LABEL
    weeks: list[AttentionWeekOut]


class CoverageOut(BaseModel):
    """Share (0-1) of the window's weeks with records, per modality, and the number of weeks."""

    attendance: float
    course: float
    discipline: float
    weeks: int


class PredictionOut(BaseModel):
    """A stored prediction."""

    status: Literal["scored"] = "scored"
    prediction_id: str
    student_id: str
    as_of: datetime = Field(description="The moment scored for; answers within one local day are the same.")
    created_at: datetime
    feature_week: date = Field(description="Monday of the last week that the model saw.")
    model_version: str
    policy_version: str
    risk_score: float = Field(description="Calibrated probability (0-1) of leaving within the model's horizon.")
    risk_60plus: float = Field(description="Probability (0-1) of leaving in 61 to 365 days, given not within 60.")
    category: Category = Field(description="Need for support, derived from `risk_score` by the stored policy.")
    support_need: str = Field(description="What the category means: a need, not a verdict.")
    coverage: CoverageOut
    reasons: list[ReasonOut] | None = Field(description="null: not asked for; empty: none could be verified.")
    protective_factors: list[ReasonOut] | None
    attention_weeks: AttentionOut


class InsufficientOut(BaseModel):
    """Too little data for a score; never a number."""

    status: Literal["insufficient_data"] = "insufficient_data"
    student_id: str
    as_of: datetime
    missing: list[str] = Field(
        description="What is missing.", examples=[["2 instructional weeks of records, at least 4 are needed"]]
    )
    coverage: CoverageOut | None


class FailedOut(BaseModel):
    """This student could not be answered; the others were. `student_id` is null where the id itself is not valid."""

    status: Literal["error"] = "error"
    student_id: str | None
    problem: Problem


AnswerOut = Annotated[PredictionOut | InsufficientOut, Field(discriminator="status")]
BatchItemOut = Annotated[PredictionOut | InsufficientOut | FailedOut, Field(discriminator="status")]


class BatchOut(BaseModel):
    """One result per id, in the order asked."""

    results: list[BatchItemOut]


class HistoryOut(BaseModel):
    """Stored predictions, newest first."""

    student_id: str
    predictions: list[PredictionOut]


class ModelOut(BaseModel):
    """The model that answers now. `swap_failure` says why a newer one asked for is not served."""

    model_version: str
    wanted: str
    policy_version: str | None
    contract_fingerprint: str | None
    loaded_at: datetime | None
    swap_failure: str | None


class HealthOut(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ReadyOut(BaseModel):
    """Every server that predictions need answers."""

    status: Literal["ready"] = "ready"


def _reasons(reasons: tuple[Reason, ...] | None) -> list[ReasonOut] | None:
    if reasons is None:
        return None
    return [ReasonOut(concept=reason.concept, text=reason.text, effect=reason.effect) for reason in reasons]


def prediction_out(prediction: Prediction) -> PredictionOut:
    """A prediction as the API shows it."""
    coverage = prediction.coverage
    return PredictionOut(
        prediction_id=prediction.prediction_id,
        student_id=prediction.student_id,
        as_of=prediction.as_of,
        created_at=prediction.created_at,
        feature_week=prediction.feature_week,
        model_version=prediction.model_version,
        policy_version=prediction.policy_version,
        risk_score=prediction.risk_score,
        risk_60plus=prediction.risk_60plus,
        category=prediction.category,
        support_need=SUPPORT_NEED[prediction.category],
        coverage=CoverageOut(
            attendance=coverage.attendance,
            course=coverage.course,
            discipline=coverage.discipline,
            weeks=coverage.weeks,
        ),
        reasons=_reasons(prediction.reasons),
        protective_factors=_reasons(prediction.protective_factors),
        attention_weeks=AttentionOut(
            weeks=[AttentionWeekOut(week=item.week, weight=item.weight) for item in prediction.attention_weeks]
        ),
    )


def insufficient_out(answer: InsufficientData) -> InsufficientOut:
    """A refusal to score, as the API shows it."""
    coverage = answer.coverage
    return InsufficientOut(
        student_id=answer.student_id,
        as_of=answer.as_of,
        missing=list(answer.missing),
        coverage=None
        if coverage is None
        else CoverageOut(
            attendance=coverage.attendance,
            course=coverage.course,
            discipline=coverage.discipline,
            weeks=coverage.weeks,
        ),
    )
