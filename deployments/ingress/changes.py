"""The route that says what moved a student's score since the last prediction."""

from typing import Annotated
from uuid import UUID

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response

from deployments.ingress.change_schemas import CHANGES_PATH, ChangesOut, changes_out
from deployments.ingress.predictions import problems
from deployments.ingress.problems import request_id_of
from deployments.ingress.schemas import MAX_STUDENT_ID_LENGTH, STUDENT_ID_PATTERN
from deployments.ingress.services import Services
from edupulse_ml.core.ids import PredictionId, StudentId


def add_change_routes(app: FastAPI, services: Services) -> None:
    """Add `/api/v1/predict/changes/{student_id}`."""

    @app.get(
        CHANGES_PATH,
        summary="What moved one student's score since the last prediction",
        tags=["predictions"],
        response_model=ChangesOut,
        responses=problems(401, 404, 409, 422, 500, 503),
    )
    async def changes(
        request: Request,
        student_id: Annotated[str, Path(min_length=1, max_length=MAX_STUDENT_ID_LENGTH, pattern=STUDENT_ID_PATTERN)],
        since: Annotated[
            UUID | None, Query(description="The prediction to compare with; left out: the one before the newest.")
        ] = None,
    ) -> Response:
        found = await services.changes.changes(
            StudentId(student_id),
            since=PredictionId(str(since)) if since else None,
            actor=services.actor,
            request_id=request_id_of(request) or "",
        )
        return Response(content=changes_out(found).model_dump_json(), media_type="application/json")
