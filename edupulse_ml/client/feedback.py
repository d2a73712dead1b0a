"""What is given back to the service, as requests of at most 100 statements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from edupulse_ml.client.protocol import BATCH_SIZE, Call
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.feedback import Feedback, FeedbackStatus, FlagFeedback, OutcomeFeedback


class FeedbackMomentError(InvalidInputError):
    """A moment without a time zone could be another moment in the district."""


def feedback_calls(statements: Sequence[Feedback]) -> list[Call]:
    """Requests of at most 100 statements each, in order.

    Raises:
        FeedbackMomentError: a statement's `recorded_at` has no time zone.
    """
    bodies = [_body(statement) for statement in statements]
    chunks = [bodies[start : start + BATCH_SIZE] for start in range(0, len(bodies), BATCH_SIZE)]
    return [Call("POST", "/api/v1/feedback", {"statements": chunk}) for chunk in chunks]


def feedback_answer(body: dict[str, Any]) -> list[FeedbackStatus]:
    """The statuses of one request's statements."""
    return [cast("FeedbackStatus", result["status"]) for result in body["results"]]


def _body(statement: Feedback) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": statement.kind,
        "key": statement.key,
        "student_id": statement.student_id,
        "given_by": statement.given_by,
        "retracted": statement.retracted,
    }
    if isinstance(statement, FlagFeedback):
        return body | {"verdict": statement.verdict, "prediction_id": statement.prediction_id}
    known_at = _moment(statement.recorded_at)
    if isinstance(statement, OutcomeFeedback):
        happened_on = statement.happened_on.isoformat()
        return body | {"outcome": statement.outcome, "happened_on": happened_on, "label_known_at": known_at}
    return body | {
        "intervention": statement.intervention,
        "started_on": statement.started_on.isoformat(),
        "ended_on": statement.ended_on.isoformat() if statement.ended_on else None,
        "recorded_at": known_at,
    }


def _moment(moment: datetime | None) -> str | None:
    if moment is not None and moment.tzinfo is None:
        msg = "recorded_at needs a time zone, for instance datetime(2026, 3, 2, tzinfo=UTC)."
        raise FeedbackMomentError(msg)
    return None if moment is None else moment.isoformat()
