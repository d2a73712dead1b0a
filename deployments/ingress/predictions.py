"""Routes that score students and show what was scored."""

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from deployments.ingress.prediction_answers import PredictionAnswers
from deployments.ingress.problems import PROBLEM_MEDIA_TYPE, Problem, request_id_of
from deployments.ingress.schemas import (
    BATCH_PATH,
    MAX_HISTORY,
    MAX_STUDENT_ID_LENGTH,
    PREDICT_PATH,
    STUDENT_ID_PATTERN,
    AnswerOut,
    BatchOut,
    BatchRequest,
    HistoryOut,
    PredictRequest,
    prediction_out,
)
from deployments.ingress.services import Services
from edupulse_ml.core.ids import StudentId


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems that a route may answer with."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "Problem", "content": content} for status in statuses}


def add_prediction_routes(app: FastAPI, services: Services) -> None:
    """Add `/api/v1/predict` and what belongs to it."""
    answers = PredictionAnswers(services)

    @app.post(
        PREDICT_PATH,
        summary="Score one student",
        tags=["predictions"],
        response_model=AnswerOut,
        responses=problems(401, 404, 413, 422, 429, 500, 503),
    )
    async def predict(request: Request, body: PredictRequest) -> Response:
        return _json(await answers.one(body, request_id=request_id_of(request) or ""))

    @app.post(
        BATCH_PATH,
        summary="Score up to 100 students",
        tags=["predictions"],
        response_model=BatchOut,
        responses=problems(401, 413, 422, 429, 500, 503),
    )
    async def predict_batch(request: Request, body: BatchRequest) -> Response:
        return _json(await answers.many(body, request_id=request_id_of(request) or ""))

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
            StudentId(student_id), limit=limit, actor=services.actor, request_id=request_id_of(request) or ""
        )
        return _json(HistoryOut(student_id=student_id, predictions=[prediction_out(item) for item in found]))


def _json(body: BaseModel) -> Response:
    # Already valid: a second validation by the framework would cost more than the prediction.
    return Response(content=body.model_dump_json(), media_type="application/json")
