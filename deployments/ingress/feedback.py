"""The route that takes what people say about students."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import Response

from deployments.ingress.feedback_schemas import FEEDBACK_PATH, FeedbackOut, FeedbackRequest, TakenOut
from deployments.ingress.predictions import problems
from deployments.ingress.problems import InvalidField, problem_of, problem_response, request_id_of
from deployments.ingress.services import Services
from edupulse_ml.core.feedback import FeedbackRefusedError


def add_feedback_routes(app: FastAPI, services: Services) -> None:
    """Add `/api/v1/feedback`."""

    @app.post(
        FEEDBACK_PATH,
        summary="Say what became of students, what support they were given, what you think of a flag",
        tags=["feedback"],
        status_code=HTTPStatus.CREATED,
        response_model=FeedbackOut,
        responses={
            200: {"model": FeedbackOut, "description": "Everything was known already"},
            **problems(401, 404, 409, 413, 422, 500, 503),
        },
    )
    async def give_feedback(request: Request, body: FeedbackRequest) -> Response:
        request_id = request_id_of(request)
        try:
            statuses = await services.feedback.give(body.as_given(), actor=services.actor, request_id=request_id or "")
        except FeedbackRefusedError as error:
            return _refused(error, body, request_id=request_id)
        results = [
            TakenOut(key=given.key, status=status) for given, status in zip(body.statements, statuses, strict=True)
        ]
        known_already = all(result.status == "unchanged" for result in results)
        return Response(
            content=FeedbackOut(results=results).model_dump_json(),
            status_code=HTTPStatus.OK if known_already else HTTPStatus.CREATED,
            media_type="application/json",
        )


def _refused(error: FeedbackRefusedError, body: FeedbackRequest, *, request_id: str | None) -> Response:
    problem = problem_of(error, request_id=request_id)
    places = [
        InvalidField(
            location=f"body.statements.{found.position}.{body.statements[found.position].kind}.{found.field}",
            message=found.message,
        )
        for found in error.problems
    ]
    return problem_response(problem.model_copy(update={"errors": places}))
