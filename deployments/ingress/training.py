"""Routes that start, show and stop training runs."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import FastAPI, Header, Request
from fastapi.responses import Response

from deployments.ingress.predictions import problems
from deployments.ingress.problems import request_id_of
from deployments.ingress.services import Services
from deployments.ingress.training_schemas import TrainingRunOut, run_out
from deployments.training_runs import Asker, RunReport
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.errors import InvalidInputError

STATUS_PATH: Final = "/api/v1/training/status"
_KEY_PATTERN: Final = r"^[\x21-\x7e]{1,200}$"
_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": _KEY_PATTERN},
    "description": "A word of your own for this start: sent again with the same body, it answers with the same run and "
    "starts no other.",
}


class KeyMissingError(InvalidInputError):
    """A start came without an idempotency key."""


def add_training_routes(app: FastAPI, services: Services) -> None:
    """Add `/api/v1/training/...`."""

    def asker(request: Request) -> Asker:
        return Asker(services.actor, request_id_of(request) or "")

    @app.post(
        "/api/v1/training/start",
        summary="Start a training run",
        tags=["training"],
        status_code=202,
        response_model=TrainingRunOut,
        responses=problems(401, 409, 413, 422, 500, 503),
        openapi_extra={"parameters": [_KEY_PARAMETER]},
    )
    async def start(
        request: Request,
        body: TrainingOrder,
        # Optional here and required below, where a sentence can say why.
        idempotency_key: Annotated[str | None, Header(pattern=_KEY_PATTERN, include_in_schema=False)] = None,
    ) -> Response:
        if idempotency_key is None:
            raise KeyMissingError(
                "The header Idempotency-Key is missing: send a word of your own for this start, such as june-2026, and the "
                "same word if you must send the start again. Requests can arrive twice, and the key keeps it one run."
            )
        return _accepted(await services.training.start(body, key=idempotency_key, asker=asker(request)))

    @app.get(
        STATUS_PATH + "/{job_id}",
        summary="How a training run goes",
        tags=["training"],
        responses=problems(401, 404, 422, 500, 503),
    )
    async def status(job_id: UUID) -> TrainingRunOut:
        return run_out(await services.training.status(job_id))

    @app.post(
        "/api/v1/training/stop/{job_id}",
        summary="Stop a training run",
        tags=["training"],
        status_code=202,
        response_model=TrainingRunOut,
        responses=problems(401, 404, 409, 422, 500, 503),
    )
    async def stop(request: Request, job_id: UUID) -> Response:
        return _accepted(await services.training.stop(job_id, asker=asker(request)))


def _accepted(report: RunReport) -> Response:
    return Response(
        content=run_out(report).model_dump_json(),
        status_code=202,
        media_type="application/json",
        headers={"Location": f"{STATUS_PATH}/{report.job.job_id}"},
    )
