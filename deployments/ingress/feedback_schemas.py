"""Requests and answers of `/api/v1/feedback`."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from deployments.ingress.schemas import DATE, MAX_BATCH, MOMENT, STUDENT_ID_PATTERN, StudentIdText
from edupulse_ml.core.feedback import (
    Feedback,
    FeedbackStatus,
    FlagFeedback,
    FlagWord,
    InterventionFeedback,
    InterventionWord,
    OutcomeFeedback,
    OutcomeWord,
)
from edupulse_ml.core.ids import PredictionId, StudentId
from edupulse_ml.core.tables import MAX_TEXT_LENGTH

FEEDBACK_PATH: Final = "/api/v1/feedback"
MAX_STATEMENTS: Final = MAX_BATCH


def _day(value: object) -> object:
    """Only an ISO date: a number could mean any day."""
    try:
        if isinstance(value, str) and DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass  # its message would repeat the value
    raise PydanticCustomError("day", "Give a date (YYYY-MM-DD)")


def _moment(value: object) -> object:
    try:
        if isinstance(value, str) and MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("moment", "Give a moment with a time zone (2026-03-02T08:00:00Z)")


Day = Annotated[date, BeforeValidator(_day)]
KnownAt = Annotated[datetime, BeforeValidator(_moment)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH, pattern=STUDENT_ID_PATTERN)]


class _Statement(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: ShortText = Field(
        description="Your own name for this statement, unique in the district. Sent again with the same content it "
        "changes nothing; with other content it corrects what it said before.",
        examples=["sis-2026-004711"],
    )
    student_id: StudentIdText = Field(description="The district's own id.", examples=["S000123"])
    given_by: ShortText = Field(description="Who says so: a role or a staff id.", examples=["counselor-12"])
    retracted: bool = Field(default=False, description="Take back what the key said before.")


class OutcomeIn(_Statement):
    """What became of a student."""

    kind: Literal["outcome"]
    outcome: OutcomeWord
    happened_on: Day = Field(
        description="Last day attended; of one who stayed, a day on which the student was enrolled.",
        examples=["2026-01-30"],
    )
    label_known_at: KnownAt | None = Field(default=None, description="When the district knew it. Left out: now.")

    def statement(self) -> OutcomeFeedback:
        """The statement as the store takes it."""
        return OutcomeFeedback(
            key=self.key,
            student_id=StudentId(self.student_id),
            given_by=self.given_by,
            recorded_at=self.label_known_at,
            retracted=self.retracted,
            outcome=self.outcome,
            happened_on=self.happened_on,
        )


class FlagIn(_Statement):
    """What a counselor thinks of a flag. It is reported, and never a label."""

    kind: Literal["flag"]
    verdict: FlagWord
    prediction_id: UUID = Field(description="The `prediction_id` of the answer that is meant.")

    def statement(self) -> FlagFeedback:
        """The statement as the store takes it."""
        return FlagFeedback(
            key=self.key,
            student_id=StudentId(self.student_id),
            given_by=self.given_by,
            retracted=self.retracted,
            verdict=self.verdict,
            prediction_id=PredictionId(str(self.prediction_id)),
        )


class InterventionIn(_Statement):
    """Support that a student was given."""

    kind: Literal["intervention"]
    intervention: InterventionWord
    started_on: Day = Field(examples=["2026-01-12"])
    ended_on: Day | None = Field(default=None, description="Last day of it. Left out: not ended, or not known.")
    recorded_at: KnownAt | None = Field(default=None, description="When the district knew it. Left out: now.")

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "InterventionIn":
        if self.ended_on is not None and self.ended_on < self.started_on:
            raise PydanticCustomError("ended_on", "ended_on is before started_on")
        return self

    def statement(self) -> InterventionFeedback:
        """The statement as the store takes it."""
        return InterventionFeedback(
            key=self.key,
            student_id=StudentId(self.student_id),
            given_by=self.given_by,
            recorded_at=self.recorded_at,
            retracted=self.retracted,
            intervention=self.intervention,
            started_on=self.started_on,
            ended_on=self.ended_on,
        )


def _kind(value: Any) -> str | None:
    """What a statement, read from JSON or made already, calls itself."""
    kind = cast("dict[str, Any]", value).get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


StatementIn = Annotated[
    Annotated[OutcomeIn, Tag("outcome")]
    | Annotated[FlagIn, Tag("flag")]
    | Annotated[InterventionIn, Tag("intervention")],
    # Its own message would repeat the value.
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="Give kind: outcome, flag or intervention",
    ),
]


class FeedbackRequest(BaseModel):
    """One to 100 statements: all of them are stored, or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    statements: list[StatementIn] = Field(min_length=1, max_length=MAX_STATEMENTS)

    def as_given(self) -> list[Feedback]:
        """The statements as the store takes them."""
        return [item.statement() for item in self.statements]


class TakenOut(BaseModel):
    """What became of one statement."""

    key: str
    status: FeedbackStatus


class FeedbackOut(BaseModel):
    """One result per statement, in the order given."""

    results: list[TakenOut]
