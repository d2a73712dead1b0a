"""Routes that show the registered models and their cards."""

from typing import Annotated, Final

from fastapi import FastAPI, Header, Path, Query
from fastapi.responses import HTMLResponse, Response

from deployments.ingress.predictions import problems
from deployments.ingress.services import Services
from deployments.ingress.training_schemas import ModelDetailOut, ModelsOut, model_detail_out, model_summary_out
from edupulse_ml.core.ids import ModelVersion

MODELS_PATH: Final = "/api/v1/models"
MAX_MODELS: Final = 100
_CARD_HEADERS: Final = {
    # The page holds its plots; it loads nothing and runs nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Vary": "Accept",
}
_Version = Annotated[str, Path(pattern=r"^[0-9]{1,9}$", description="As the registry numbers it.")]


def add_model_routes(app: FastAPI, services: Services) -> None:
    """Add `/api/v1/models`; `/api/v1/models/current` must have been added before."""

    @app.get(MODELS_PATH, summary="Registered models, newest first", tags=["models"], responses=problems(401, 422, 503))
    async def models(
        limit: Annotated[int, Query(ge=1, le=MAX_MODELS, description="At most this many.")] = 20,
    ) -> ModelsOut:
        found = await services.models.list(limit=limit)
        return ModelsOut(models=[model_summary_out(model) for model in found])

    @app.get(
        MODELS_PATH + "/{version}",
        summary="A registered model: JSON, or its card as HTML where `Accept` asks for HTML",
        tags=["models"],
        response_model=ModelDetailOut,
        responses=problems(401, 404, 422, 503),
    )
    async def model(version: _Version, accept: Annotated[str, Header()] = "") -> Response:
        wanted = ModelVersion(version)
        if _prefers_html(accept):
            return await _card(services, wanted)
        found = await services.models.describe(wanted)
        body = model_detail_out(found, await services.models.report(wanted))
        return Response(content=body.model_dump_json(), media_type="application/json", headers={"Vary": "Accept"})

    @app.get(
        MODELS_PATH + "/{version}/card",
        summary="The card of a registered model, an HTML page",
        tags=["models"],
        response_class=HTMLResponse,
        responses=problems(401, 404, 422, 503),
    )
    async def card(version: _Version) -> Response:
        return await _card(services, ModelVersion(version))


async def _card(services: Services, version: ModelVersion) -> Response:
    return HTMLResponse(await services.models.card(version), headers=_CARD_HEADERS)


def _prefers_html(accept: str) -> bool:
    """Whether HTML is named, with no smaller weight than JSON."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name in weights:
            weights[name] = _weight(parameters)
    return weights["text/html"] > 0 and weights["text/html"] >= weights["application/json"]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
