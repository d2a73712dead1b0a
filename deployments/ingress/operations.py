"""Routes for operators: health, readiness, metrics, the served model."""

from fastapi import FastAPI, Request
from fastapi.responses import Response

from deployments.ingress.predictions import problems
from deployments.ingress.problems import (
    DEPENDENCY_RETRY_AFTER_S,
    Problem,
    problem_response,
    request_id_of,
)
from deployments.ingress.schemas import HealthOut, ModelOut, ReadyOut
from deployments.ingress.services import Services
from edupulse_ml.core.errors import MODEL_REGISTRY, DependencyDownError

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def add_operation_routes(app: FastAPI, services: Services) -> None:
    """Add `/health`, `/ready`, `/metrics` and `/api/v1/models/current`."""

    @app.get("/health", summary="The process answers", tags=["operations"])
    async def health() -> HealthOut:
        return HealthOut(version=services.version)

    @app.get(
        "/ready",
        summary="Everything that predictions need answers",
        tags=["operations"],
        response_model=ReadyOut,
        responses=problems(503),
    )
    async def ready(request: Request) -> Response:
        missing = await services.readiness.missing()
        if not missing:
            return Response(content=ReadyOut().model_dump_json(), media_type="application/json")
        problem = Problem(
            type="urn:edupulse:problem:dependency-unavailable",
            title="Dependency unavailable",
            status=503,
            detail=" ".join(item.message for item in missing),
            request_id=request_id_of(request),
            dependency=missing[0].name,
            missing=[item.name for item in missing],
        )
        return problem_response(problem, headers={"Retry-After": str(DEPENDENCY_RETRY_AFTER_S)})

    @app.get(
        "/metrics",
        summary="Metrics of the whole cluster, Prometheus text format",
        tags=["operations"],
        response_class=Response,
        responses=problems(401),
    )
    async def metrics() -> Response:
        return Response(content=await services.metrics.exposition(), media_type=METRICS_MEDIA_TYPE)

    @app.get(
        "/api/v1/models/current",
        summary="The model that answers now",
        tags=["models"],
        responses=problems(401, 503),
    )
    async def current_model() -> ModelOut:
        served = await services.scoring.served()
        if served.version is None:
            why = served.swap_failure or "it is still loading."
            raise DependencyDownError(f"No model is served: {why}", dependency=MODEL_REGISTRY)
        return ModelOut(
            model_version=served.version,
            wanted=served.wanted,
            policy_version=served.policy_version,
            contract_fingerprint=served.contract_fingerprint,
            loaded_at=served.loaded_at,
            swap_failure=served.swap_failure,
        )
