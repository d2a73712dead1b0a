"""What changed since the last prediction, as the API shows it."""

from datetime import date, datetime
from typing import Final

from pydantic import BaseModel, Field

from deployments.change_messages import ExplainedChange
from edupulse_ml.core.predictions import Category, Prediction
from edupulse_ml.explain.changes import ChangePart, Part

CHANGES_PATH: Final = "/api/v1/predict/changes/{student_id:path}"  # an id may hold a slash


class ComparedOut(BaseModel):
    """One of the two predictions that are compared; the history shows all of it."""

    prediction_id: str
    as_of: datetime
    created_at: datetime
    feature_week: date
    model_version: str
    risk_score: float
    category: Category


class ConceptChangeOut(BaseModel):
    """What moved the score within a part."""

    concept: str = Field(examples=["recent absences"])
    text: str | None = Field(
        description="Now and then; null where no single figure shows it.",
        examples=["Missed 6 of 20 days in the last 4 school weeks; at the prediction before: 1 of 19 days."],
    )
    effect: float = Field(description="Logits that the score would lose had this concept alone stayed as it was.")


class ChangePartOut(BaseModel):
    """One part of the move."""

    part: Part
    text: str = Field(description="The part in a sentence.")
    logit: float = Field(description="Move in logits; the parts sum to `change.logit`.")
    probability: float = Field(description="Move of the probability; the parts sum to `change.probability`.")
    concepts: list[ConceptChangeOut]


class MoveOut(BaseModel):
    """From the earlier score to the later one."""

    logit: float
    probability: float


class ChangesOut(BaseModel):
    """What moved a student's score between two stored predictions."""

    student_id: str
    before: ComparedOut
    after: ComparedOut
    change: MoveOut
    parts: list[ChangePartOut] = Field(
        description="New records, records that left the window, corrected or late records, a new model."
    )


def changes_out(found: ExplainedChange) -> ChangesOut:
    """An explained change as the API shows it."""
    parts = found.change.parts
    return ChangesOut(
        student_id=found.after.student_id,
        before=_compared(found.before),
        after=_compared(found.after),
        change=MoveOut(logit=sum(part.logit for part in parts), probability=sum(part.probability for part in parts)),
        parts=[_part(part, found) for part in parts],
    )


def _compared(prediction: Prediction) -> ComparedOut:
    return ComparedOut(
        prediction_id=prediction.prediction_id,
        as_of=prediction.as_of,
        created_at=prediction.created_at,
        feature_week=prediction.feature_week,
        model_version=prediction.model_version,
        risk_score=prediction.risk_score,
        category=prediction.category,
    )


def _part(part: ChangePart, found: ExplainedChange) -> ChangePartOut:
    return ChangePartOut(
        part=part.part,
        text=_SENTENCES[part.part](part, found) if part.logit else _NOTHING[part.part],
        logit=part.logit,
        probability=part.probability,
        concepts=[ConceptChangeOut(concept=item.concept, text=item.text, effect=item.effect) for item in part.concepts],
    )


def _new(part: ChangePart, found: ExplainedChange) -> str:
    del found
    return f"What was recorded of {_weeks(part.weeks)} since then {_verb(part)} the score."


def _left(part: ChangePart, found: ExplainedChange) -> str:
    del found
    have = "has" if part.weeks == 1 else "have"
    return f"That {_weeks(part.weeks)} {have} become too old to be counted {_verb(part)} the score."


def _corrected(part: ChangePart, found: ExplainedChange) -> str:
    del found
    return f"That records of earlier weeks were corrected, or came late, {_verb(part)} the score."


def _model(part: ChangePart, found: ExplainedChange) -> str:
    before, after = found.before.model_version, found.after.model_version
    return f"That model {after} is asked instead of model {before}, about the same records, {_verb(part)} the score."


def _verb(part: ChangePart) -> str:
    return "raises" if part.logit > 0 else "lowers"


def _weeks(count: int) -> str:
    return "1 school week" if count == 1 else f"{count} school weeks"


_SENTENCES: Final = {
    "new_records": _new,
    "left_window": _left,
    "corrected_records": _corrected,
    "new_model": _model,
}
_NOTHING: Final = {
    "new_records": "Nothing that was recorded since then moves the score.",
    "left_window": "No week has become too old to be counted, or none that moves the score.",
    "corrected_records": "No correction or late record of an earlier week moves the score.",
    "new_model": "The model is the same, or says the same.",
}
