"""Routes that score students and show what was scored."""

import re
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response

from deployments.ingress.problems import PROBLEM_MEDIA_TYPE, Problem, problem_of, request_id_of
from deployments.ingress.schemas import (
    MAX_HISTORY,
    MAX_STUDENT_ID_LENGTH,
    STUDENT_ID_PATTERN,
    AnswerOut,
    BatchOut,
    BatchRequest,
    FailedOut,
    HistoryOut,
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


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems that a route may answer with."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "Problem", "content": content} for status in statuses}


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


def add_prediction_routes(app: FastAPI, services: Services) -> None:
    """Add `/api/v1/predict` and what belongs to it."""
    actor = f"token-{services.token_sha256[:8]}"

    def question(request: Request, asked: PredictRequest | BatchRequest, student_id: str) -> Question:
        return Question(
            student_id=StudentId(student_id),
            as_of=asked.as_of,
            include_reasons=asked.include_reasons,
            request_id=request_id_of(request) or "",
            actor=actor,
        )

    @app.post(
        "/api/v1/predict",
        summary="Score one student",
        tags=["predictions"],
        response_model=AnswerOut,
        responses=problems(401, 404, 413, 422, 429, 500, 503),
    )
    async def predict(request: Request, body: PredictRequest) -> Response:
        answer = await services.scoring.predict(question(request, body, body.student_id))
        shown = _shown(answer)
        if shown is None:
            raise NotFoundError(_UNKNOWN)
        return _json(shown)

    @app.post(
        "/api/v1/predict/batch",
        summary="Score up to 100 students",
        tags=["predictions"],
        response_model=BatchOut,
        responses=problems(401, 413, 422, 429, 500, 503),
    )
    async def predict_batch(request: Request, body: BatchRequest) -> Response:
        valid = [student_id for student_id in body.student_ids if _is_valid(student_id)]
        answers = iter(
            await services.scoring.predict_many([question(request, body, student_id) for student_id in valid])
            if valid
            else ()
        )
        results: list[PredictionOut | InsufficientOut | FailedOut] = []
        for student_id in body.student_ids:
            if not _is_valid(student_id):
                results.append(FailedOut(student_id=None, problem=problem_of(InvalidInputError(_INVALID))))
                continue
            unknown = FailedOut(student_id=student_id, problem=problem_of(NotFoundError(_UNKNOWN)))
            results.append(_shown(next(answers)) or unknown)
        return _json(BatchOut(results=results))

    @app.get(
        "/api/v1/predict/history/{student_id:path}",  # an id may hold a slash
        summary="Stored predictions of one student, newest first",
        tags=["predictions"],
        response_model=HistoryOut,
        responses=problems(401, 404, 422, 500, 503),
    )
    async def history(
        request: Request,
        student_id: Annotated[str, Path(min_length=1, max_length=MAX_STUDENT_ID_LENGTH, pattern=STUDENT_ID_PATTERN)],
        limit: Annotated[int, Query(ge=1, le=MAX_HISTORY, description="At most this many.")] = 50,
    ) -> Response:
        found = await services.scoring.history(
            StudentId(student_id), limit=limit, actor=actor, request_id=request_id_of(request) or ""
        )
        return _json(HistoryOut(student_id=student_id, predictions=[prediction_out(item) for item in found]))


def _json(body: PredictionOut | InsufficientOut | BatchOut | HistoryOut) -> Response:
    # Already valid: a second validation by the framework would cost more than the prediction.
    return Response(content=body.model_dump_json(), media_type="application/json")
