"""Valid questions about students, asked of the scoring service and worded as the API's answers."""

import re
from typing import Final

from deployments.ingress.problems import problem_of
from deployments.ingress.schemas import (
    MAX_STUDENT_ID_LENGTH,
    STUDENT_ID_PATTERN,
    BatchOut,
    BatchRequest,
    FailedOut,
    InsufficientOut,
    PredictionOut,
    PredictRequest,
    insufficient_out,
    prediction_out,
)
from deployments.ingress.services import Services
from deployments.messages import Answer, Question
from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.predictions import InsufficientData, Prediction

_VALID_ID: Final = re.compile(STUDENT_ID_PATTERN)
_UNKNOWN: Final = "This district has no student with the id asked for: check the id, or import the student's records."
_INVALID: Final = f"A student id has 1 to {MAX_STUDENT_ID_LENGTH} characters and no control characters."


class PredictionAnswers:
    """Answers to the two prediction requests; `request_id` goes to the audit trail."""

    def __init__(self, services: Services) -> None:
        self._scoring = services.scoring
        self._actor = services.actor

    async def one(self, asked: PredictRequest, *, request_id: str) -> PredictionOut | InsufficientOut:
        """The student's score, or what is missing for one.

        Raises:
            NotFoundError: the district has no such student.
            EduPulseError: as `Scoring.predict` does.
        """
        shown = _shown(await self._scoring.predict(self._question(asked, asked.student_id, request_id)))
        if shown is None:
            raise NotFoundError(_UNKNOWN)
        return shown

    async def many(self, asked: BatchRequest, *, request_id: str) -> BatchOut:
        """One result per id, in order; an id that cannot be used fails alone. Raises as `Scoring.predict_many` does."""
        valid = [student_id for student_id in asked.student_ids if _is_valid(student_id)]
        questions = [self._question(asked, student_id, request_id) for student_id in valid]
        answers = iter(await self._scoring.predict_many(questions) if questions else ())
        results: list[PredictionOut | InsufficientOut | FailedOut] = []
        for student_id in asked.student_ids:
            if not _is_valid(student_id):
                results.append(FailedOut(student_id=None, problem=problem_of(InvalidInputError(_INVALID))))
                continue
            unknown = FailedOut(student_id=student_id, problem=problem_of(NotFoundError(_UNKNOWN)))
            results.append(_shown(next(answers)) or unknown)
        return BatchOut(results=results)

    def _question(self, asked: PredictRequest | BatchRequest, student_id: str, request_id: str) -> Question:
        return Question(StudentId(student_id), asked.as_of, asked.include_reasons, request_id, self._actor)


def _is_valid(student_id: str) -> bool:
    return (
        len(student_id) <= MAX_STUDENT_ID_LENGTH
        and _VALID_ID.fullmatch(student_id) is not None
        and not any("\ud800" <= character <= "\udfff" for character in student_id)
    )


def _shown(answer: Answer) -> PredictionOut | InsufficientOut | None:
    if isinstance(answer, Prediction):
        return prediction_out(answer)
    return insufficient_out(answer) if isinstance(answer, InsufficientData) else None
