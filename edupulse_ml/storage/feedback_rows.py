"""Statements as rows, and whether one may follow what is stored under its key."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, TypeAlias, TypedDict

from edupulse_ml.core.feedback import Feedback, FeedbackProblem, FeedbackStatus, FlagFeedback, OutcomeFeedback

_Wrong: TypeAlias = tuple[str, int, str]
"""Field, HTTP status and message of a problem."""
_CLOCKS_DIFFER: Final = timedelta(days=1)
"""Somewhere it is tomorrow already."""


class Content(TypedDict):
    """One version as it is written, in JSON's types."""

    feedback_key: str
    student_key: int | None
    kind: str
    value: str
    prediction_id: str | None
    starts_on: str | None
    ends_on: str | None
    given_by: str
    retracted: bool
    recorded_at: str


@dataclass(frozen=True)
class StoredStatement:
    """What the store knows about a given statement: the keys of its student and of its prediction's student (None: there
    is none), and the current version under its key (all None: there is none).
    """

    student_key: int | None
    prediction_student_key: int | None
    stored_student_key: int | None
    kind: str | None
    value: str | None
    prediction_id: str | None
    starts_on: date | None
    ends_on: date | None
    given_by: str | None
    retracted: bool | None
    recorded_at: datetime | None


def find_row(statement: Feedback, position: int) -> dict[str, object]:
    """What is asked of the store about a statement."""
    prediction_id = statement.prediction_id if isinstance(statement, FlagFeedback) else None
    return {
        "position": position,
        "feedback_key": statement.key,
        "student_id": statement.student_id,
        "prediction_id": prediction_id,
    }


def judge(
    statement: Feedback, found: StoredStatement, *, position: int, now: datetime
) -> FeedbackStatus | FeedbackProblem:
    """The status that the statement will have, or why it cannot be taken."""
    wrong = _unknown(statement, found) or _in_the_future(statement, now=now) or _contradicted(statement, found, now=now)
    if wrong is not None:
        return FeedbackProblem(position, *wrong)
    if found.recorded_at is None:
        return "created"
    return "unchanged" if _says_the_same(statement, found) else "corrected"


def _unknown(statement: Feedback, found: StoredStatement) -> _Wrong | None:
    if found.student_key is None:
        return "student_id", 404, "The district has no student with this id."
    if isinstance(statement, FlagFeedback) and found.prediction_student_key != found.student_key:
        return "prediction_id", 404, "The student has no prediction with this id."
    return None


def _in_the_future(statement: Feedback, *, now: datetime) -> _Wrong | None:
    if statement.recorded_at is not None and statement.recorded_at > now:
        return "recorded_at", 422, "It lies in the future."
    starts_on, _ = _days(statement)
    if starts_on is None or starts_on <= (now + _CLOCKS_DIFFER).date():
        return None
    return "happened_on" if isinstance(statement, OutcomeFeedback) else "started_on", 422, "It lies in the future."


def _contradicted(statement: Feedback, found: StoredStatement, *, now: datetime) -> _Wrong | None:
    if found.recorded_at is None:
        return None
    if (found.stored_student_key, found.kind) != (found.student_key, statement.kind):
        return "key", 409, "The key stands for a statement of another kind, or about another student."
    if (statement.recorded_at or now) <= found.recorded_at and not _says_the_same(statement, found):
        return "recorded_at", 409, "A version of this statement was recorded at that moment or later."
    return None


def content_of(statement: Feedback, found: StoredStatement, *, now: datetime) -> Content:
    """The version to be written."""
    starts_on, ends_on = _days(statement)
    return Content(
        feedback_key=statement.key,
        student_key=found.student_key,
        kind=statement.kind,
        value=_value(statement),
        prediction_id=statement.prediction_id if isinstance(statement, FlagFeedback) else None,
        starts_on=starts_on.isoformat() if starts_on else None,
        ends_on=ends_on.isoformat() if ends_on else None,
        given_by=statement.given_by,
        retracted=statement.retracted,
        recorded_at=(statement.recorded_at or now).isoformat(),
    )


def _says_the_same(statement: Feedback, found: StoredStatement) -> bool:
    prediction_id = statement.prediction_id if isinstance(statement, FlagFeedback) else None
    said = (_value(statement), prediction_id, *_days(statement), statement.given_by, statement.retracted)
    stored = (found.value, found.prediction_id, found.starts_on, found.ends_on, found.given_by, found.retracted)
    return said == stored


def _value(statement: Feedback) -> str:
    if isinstance(statement, FlagFeedback):
        return statement.verdict
    return statement.outcome if isinstance(statement, OutcomeFeedback) else statement.intervention


def _days(statement: Feedback) -> tuple[date | None, date | None]:
    if isinstance(statement, FlagFeedback):
        return None, None
    if isinstance(statement, OutcomeFeedback):
        return statement.happened_on, None
    return statement.started_on, statement.ended_on
