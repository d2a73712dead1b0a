"""Requests and answers about training runs and registered models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID, uuid4

from edupulse_ml.client.protocol import Call
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.training_runs import UNDER_WAY, RunLine, RunState

_MODELS: Final = "/api/v1/models"


@dataclass(frozen=True)
class RunStatus:
    """A training run as it is now. `eta_s`: seconds until it may end; None where that is not known. `epoch` counts in
    its `step`; None where that has no epochs. `request` None: it was started on a command line.
    """

    job_id: UUID
    state: RunState
    request: TrainingOrder | None
    queued_at: datetime | None
    started_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime | None
    step: str | None
    epoch: int | None
    of_epochs: int | None
    eta_s: float | None
    metrics: Mapping[str, float] | None
    log: tuple[RunLine, ...]
    run_name: str | None
    model_version: ModelVersion | None
    summary: Mapping[str, Any] | None
    error: str | None

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.state in UNDER_WAY


@dataclass(frozen=True)
class ModelSummary:
    """A registered model; `aliases` are those of champion, previous and challenger that point at it."""

    model_version: ModelVersion
    created_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ModelDetail(ModelSummary):
    """A registered model with its metrics and its evaluation report; None where it keeps none."""

    metrics: Mapping[str, float]
    report: Mapping[str, Any] | None


def start_call(order: TrainingOrder, *, key: str | None) -> Call:
    """The request for a run. Without a `key` it gets one of its own, so that its repetitions start no other run."""
    body = order.model_dump(mode="json", exclude_defaults=True)
    return Call("POST", "/api/v1/training/start", body, headers={"Idempotency-Key": key or str(uuid4())})


def status_call(job_id: UUID) -> Call:
    """The request for a run's state."""
    return Call("GET", f"/api/v1/training/status/{job_id}")


def stop_call(job_id: UUID) -> Call:
    """The request to stop a run."""
    return Call("POST", f"/api/v1/training/stop/{job_id}")


def models_call(*, limit: int) -> Call:
    """The request for the list of models."""
    return Call("GET", _MODELS, params={"limit": limit})


def model_call(version: str) -> Call:
    """The request for one model."""
    return Call("GET", f"{_MODELS}/{int(version)}")


def card_call(version: str) -> Call:
    """The request for a model card."""
    return Call("GET", f"{_MODELS}/{int(version)}/card", headers={"Accept": "text/html, application/problem+json"})


def run_status(body: Mapping[str, Any]) -> RunStatus:
    """A run as the service words it."""
    known = dict(body)
    for moment in ("queued_at", "started_at", "finished_at", "heartbeat_at"):
        known[moment] = None if body[moment] is None else datetime.fromisoformat(body[moment])
    known["job_id"] = UUID(body["job_id"])
    known["request"] = None if body["request"] is None else TrainingOrder.model_validate(body["request"])
    known["log"] = tuple(RunLine(datetime.fromisoformat(line["at"]), line["text"]) for line in body["log"])
    return RunStatus(**{name: known[name] for name in RunStatus.__dataclass_fields__})


def model_summaries(body: Mapping[str, Any]) -> list[ModelSummary]:
    """The list of models."""
    return [ModelSummary(**_summary(item)) for item in body["models"]]


def model_detail(body: Mapping[str, Any]) -> ModelDetail:
    """One model."""
    return ModelDetail(**_summary(body), metrics=body["metrics"], report=body["report"])


def card_page(body: Mapping[str, Any]) -> str:
    """The page of a model card."""
    return cast("str", body["html"])


def _summary(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_version": ModelVersion(body["model_version"]),
        "created_at": datetime.fromisoformat(body["created_at"]),
        "aliases": tuple(body["aliases"]),
        "tags": body["tags"],
    }
