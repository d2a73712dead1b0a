"""Answers of the routes for training runs and registered models."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from deployments.registered_models import RegisteredModel
from deployments.training_runs import RunReport
from edupulse_ml.core.training_runs import RunState


class RunLineOut(BaseModel):
    """Something that the run said of itself."""

    at: datetime
    text: str = Field(examples=["training (ensemble): epoch 3 of 150"])


class TrainingRunOut(BaseModel):
    """A training run as it is now. No field holds student data."""

    job_id: str
    state: RunState = Field(description="queued, running and stopping: under way; succeeded, failed, stopped: ended.")
    request: dict[str, Any] | None = Field(description="What was asked for; null: started on a command line.")
    queued_at: datetime | None
    started_at: datetime = Field(description="While it is queued: when it was asked for.")
    finished_at: datetime | None
    heartbeat_at: datetime | None = Field(description="When the run was last heard of.")
    step: str | None = Field(examples=["training (ensemble)"])
    epoch: int | None = Field(description="Epochs done in this step, over all networks; null: the step has none.")
    of_epochs: int | None = Field(description="Most epochs of this step; training stops early.")
    eta_s: float | None = Field(
        description="Seconds until it may end, by what runs like it took, else by the pace of its latest epoch, "
        "which leaves out the steps that follow; null: not known."
    )
    metrics: dict[str, float] | None = Field(description="Of the latest epoch.")
    log: list[RunLineOut] = Field(description="The latest lines that the run said of itself, oldest first.")
    run_name: str | None = Field(
        description="Give it as `resume` to go on from its last checkpoint; null: none is kept."
    )
    model_version: str | None = Field(description="The registered model; null unless it succeeded.")
    summary: dict[str, Any] | None = Field(description="Figures of the test year; null unless it succeeded.")
    error: str | None = Field(description="Why there is no model, in a sentence.")


class ModelSummaryOut(BaseModel):
    """A registered model."""

    model_version: str
    created_at: datetime
    aliases: list[str] = Field(description="champion: served; previous: served before; challenger: wants to be.")
    tags: dict[str, str] = Field(description="Where it came from: strategy, commit, contract, dates of the data.")


class ModelsOut(BaseModel):
    """Registered models, newest first."""

    models: list[ModelSummaryOut]


class ModelDetailOut(ModelSummaryOut):
    """A registered model with its figures and what its card is made of."""

    metrics: dict[str, float]
    report: dict[str, Any] | None = Field(
        description="The evaluation report, groups under 10 suppressed; null: none kept."
    )


def run_out(report: RunReport) -> TrainingRunOut:
    """One run as the API words it."""
    job = report.job
    return TrainingRunOut(
        job_id=str(job.job_id),
        state=job.status,
        request=None if job.request is None else dict(job.request),
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        heartbeat_at=job.heartbeat_at,
        step=job.step,
        epoch=job.epoch,
        of_epochs=job.of_epochs,
        eta_s=report.eta_s,
        metrics=None if job.metrics is None else dict(job.metrics),
        log=[RunLineOut(at=line.at, text=line.text) for line in job.lines],
        run_name=job.run_name,
        model_version=job.model_version,
        summary=None if job.summary is None else dict(job.summary),
        error=job.error,
    )


def model_summary_out(model: RegisteredModel) -> ModelSummaryOut:
    """One model of the list."""
    return ModelSummaryOut(
        model_version=model.version, created_at=model.created_at, aliases=list(model.aliases), tags=model.tags
    )


def model_detail_out(model: RegisteredModel, report: dict[str, Any] | None) -> ModelDetailOut:
    """One model with its report."""
    return ModelDetailOut(**model_summary_out(model).model_dump(), metrics=model.metrics, report=report)
