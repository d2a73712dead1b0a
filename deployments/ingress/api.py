"""Puts the HTTP API together; a plain factory, so that a test client exercises it with fakes."""

from typing import Final, TypeAlias

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer

from deployments.ingress.changes import add_change_routes
from deployments.ingress.direct import DirectPredictions
from deployments.ingress.feedback import add_feedback_routes
from deployments.ingress.middleware import RequestGate
from deployments.ingress.models import add_model_routes
from deployments.ingress.operations import add_operation_routes
from deployments.ingress.prediction_answers import PredictionAnswers
from deployments.ingress.predictions import add_prediction_routes
from deployments.ingress.problems import add_problem_handlers
from deployments.ingress.services import Services
from deployments.ingress.training import add_training_routes

Api: TypeAlias = FastAPI
"""What `create_api` returns; other modules name it without importing the framework."""

DESCRIPTION: Final = """\
Which students drift toward dropping out, early enough to help them.

A category is a *need for support* among this district's students, not a verdict about one of them; most students in
the highest category do not leave. Decisions belong to people who know the student.

Send `Authorization: Bearer <token>` (the token is in `.edupulse/token`) on every route but `/health`, `/ready` and the
docs. Errors are `application/problem+json`.
"""


def create_api(services: Services) -> FastAPI:
    """The API over `services`; opens nothing."""
    app = FastAPI(
        title="EduPulse",
        version=services.version,
        description=DESCRIPTION,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # Shows the lock in the docs; `RequestGate` does the refusing, before the body is read.
        dependencies=[Security(HTTPBearer(auto_error=False, description="The token of `.edupulse/token`."))],
    )
    add_problem_handlers(app)
    add_operation_routes(app, services)
    add_prediction_routes(app, services)
    add_feedback_routes(app, services)
    add_change_routes(app, services)
    add_training_routes(app, services)
    add_model_routes(app, services)
    app.add_middleware(DirectPredictions, answers=PredictionAnswers(services))
    app.add_middleware(RequestGate, token_sha256=services.token_sha256)
    return app
