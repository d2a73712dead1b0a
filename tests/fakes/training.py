"""Training runs in memory, a job server that does as it is told, and two registered models."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deployments.job_server import DEPENDENCY, Submission
from deployments.registered_models import RegisteredModel
from deployments.time_limit import NoAnswerInTimeError
from deployments.training_runs import Placement, TrainingRuns
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError, DependencyDownError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.training_runs import MAX_LINES, STOPPED, Ending, RayWord, RunState, TrainingJob
from edupulse_ml.storage.training_jobs import NewRun, News

JOB_SERVER_DOWN = "Ray's job server does not answer."


class FakeRunStore:
    """What `storage.training_jobs.TrainingJobRepository` does, in a dictionary; `audit` holds (actor, action, outcome)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.jobs: dict[UUID, TrainingJob] = {}
        self.keys: dict[str, UUID] = {}
        self.audit: list[tuple[str, str, str]] = []

    async def claim(self, run: NewRun) -> bool:
        if run.idempotency_key in self.keys or await self.under_way() is not None:
            return False
        now = self._clock.now()
        self.jobs[run.job_id] = TrainingJob(
            job_id=run.job_id,
            kind="train",
            status=run.status,
            started_at=now,
            finished_at=None,
            parameters=run.parameters,
            model_version=None,
            summary=None,
            error=None,
            queued_at=now if run.status == "queued" else None,
            heartbeat_at=now,
            submission_id=run.submission_id,
            request=run.request,
            request_sha256=run.request_sha256,
            run_name=run.run_name,
        )
        if run.idempotency_key is not None:
            self.keys[run.idempotency_key] = run.job_id
        self.audit.append((run.asked_by, "train_start", run.status))
        return True

    async def refused(self, *, asked_by: str, request_id: str) -> None:
        self.audit.append((asked_by, "train_start", "refused"))

    async def take_up(self, job_id: UUID) -> TrainingJob:
        job = self.jobs.get(job_id)
        if job is None or job.status != "queued":
            raise ConflictError("It does not wait.")
        now = self._clock.now()
        return self._keep(replace(job, status="running", started_at=now, heartbeat_at=now))

    async def hear(self, job_id: UUID, news: News) -> RunState | None:
        job = self.jobs[job_id]
        if job.status not in {"running", "stopping"}:
            return None
        self._keep(
            replace(
                job,
                heartbeat_at=self._clock.now(),
                step=news.step or job.step,
                epoch=news.epoch,
                of_epochs=news.of_epochs,
                metrics=job.metrics if news.metrics is None else news.metrics,
                lines=(*job.lines, *news.lines)[-MAX_LINES:],
            )
        )
        return job.status

    async def ask_to_stop(self, job_id: UUID, *, asked_by: str, request_id: str) -> bool:
        job = self.jobs[job_id]
        if job.status == "queued":
            self._keep(replace(job, status="stopped", finished_at=self._clock.now(), error=STOPPED))
        elif job.status == "running":
            self._keep(replace(job, status="stopping"))
        else:
            return False
        self.audit.append((asked_by, "train_stop", self.jobs[job_id].status))
        return True

    async def settle(self, job: TrainingJob, ending: Ending, *, forget_key: bool = False) -> bool:
        known = self.jobs[job.job_id]
        if known.status != job.status:
            return False
        self._keep(replace(known, status=ending.status, finished_at=self._clock.now(), error=ending.sentence))
        if forget_key:
            self.keys = {key: job_id for key, job_id in self.keys.items() if job_id != job.job_id}
        return True

    async def succeed(self, job_id: UUID, *, model_version: ModelVersion, summary: dict[str, object]) -> None:
        ended = {"status": "succeeded", "finished_at": self._clock.now()}
        self._keep(replace(self.jobs[job_id], model_version=model_version, summary=summary, **ended))

    async def find(self, job_id: UUID) -> TrainingJob:
        if job_id not in self.jobs:
            raise NotFoundError("This district has no training run with the id asked for.")
        return self.jobs[job_id]

    async def with_key(self, key: str) -> TrainingJob | None:
        return self.jobs[self.keys[key]] if key in self.keys else None

    async def knows_run_name(self, run_name: str) -> bool:
        return any(job.run_name == run_name for job in self.jobs.values())

    async def under_way(self) -> TrainingJob | None:
        return next((job for job in self.jobs.values() if job.under_way), None)

    async def seconds_of_runs_like(self, job_id: UUID) -> Sequence[float]:
        return [
            (job.finished_at - job.started_at).total_seconds()
            for job in self.jobs.values()
            if job.status == "succeeded" and job.finished_at is not None and _like(job) == _like(self.jobs[job_id])
        ]

    def _keep(self, job: TrainingJob) -> TrainingJob:
        self.jobs[job.job_id] = job
        return job


def _like(job: TrainingJob) -> dict[str, object]:
    given = job.request or {}
    return {name: value for name, value in given.items() if name not in {"test_year", "seed", "promote", "resume"}}


@dataclass
class FakeJobServer:
    """Says of each submission what `words` hold; `down` refuses everything, `slow` takes a submission too late."""

    down: bool = False
    slow: bool = False
    submissions: list[Submission] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    words: dict[str, RayWord] = field(default_factory=dict)

    async def submit(self, submission: Submission) -> None:
        self._require_up()
        if self.slow:
            raise NoAnswerInTimeError(JOB_SERVER_DOWN, dependency=DEPENDENCY)
        self.submissions.append(submission)
        self.words.setdefault(submission.submission_id, "pending")

    async def word(self, submission_id: str) -> RayWord:
        return "silent" if self.down else self.words.get(submission_id, "unknown")

    async def stop(self, submission_id: str) -> None:
        self._require_up()
        self.stopped.append(submission_id)

    def _require_up(self) -> None:
        if self.down:
            raise DependencyDownError(JOB_SERVER_DOWN, dependency=DEPENDENCY)


class FakeModels:
    """Versions 2 (champion, with a card) and 1 (without one)."""

    def __init__(self) -> None:
        made = datetime(2025, 5, 1, 8, tzinfo=UTC)
        champion = RegisteredModel(ModelVersion("2"), made, ("champion",), {"strategy": "ensemble"}, {"test.auc": 0.8})
        older = RegisteredModel(ModelVersion("1"), made, (), {"strategy": "gru"}, {})
        self.models = {model.version: model for model in (champion, older)}

    async def list(self, *, limit: int) -> Sequence[RegisteredModel]:
        return list(self.models.values())[:limit]

    async def describe(self, version: ModelVersion) -> RegisteredModel:
        if version not in self.models:
            raise NotFoundError("This district has no model of the version asked for.")
        return self.models[version]

    async def report(self, version: ModelVersion) -> dict[str, Any] | None:
        return {"title": "District demo"} if version == "2" else None

    async def card(self, version: ModelVersion) -> str:
        await self.describe(version)
        if version != "2":
            raise NotFoundError("This model was registered without a model card.")
        return "<html><body><h1>Model card</h1></body></html>"


class LocalTraining:
    """Training runs of one district, with every part at hand."""

    def __init__(self, clock: Clock, *, answer_timeout_s: float = 8.0) -> None:
        self.store = FakeRunStore(clock)
        self.server = FakeJobServer()
        numbers = itertools.count(1)
        self.runs = TrainingRuns(
            runs=self.store,
            server=self.server,
            clock=clock,
            new_id=lambda: UUID(int=next(numbers)),
            placement=Placement({"EDUPULSE_DISTRICT": "demo"}),
            answer_timeout_s=answer_timeout_s,
        )
