"""What the HTTP API needs from the rest of the system, as Protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from deployments.change_messages import ExplainedChange
from deployments.messages import Answer, Question, ServedModel
from deployments.registered_models import RegisteredModel
from deployments.training_runs import Asker, RunReport
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.ports import FeedbackStore
from edupulse_ml.core.predictions import Prediction


class Scoring(Protocol):
    """Answers questions about students; errors come from `core.errors`."""

    async def predict(self, question: Question) -> Answer: ...

    async def predict_many(self, questions: Sequence[Question]) -> Sequence[Answer]: ...

    async def history(
        self, student_id: StudentId, *, limit: int, actor: str, request_id: str
    ) -> Sequence[Prediction]: ...

    async def served(self) -> ServedModel: ...


class Changes(Protocol):
    """Says what moved a score between two stored predictions; errors come from `core.errors`."""

    async def changes(
        self, student_id: StudentId, *, since: PredictionId | None, actor: str, request_id: str
    ) -> ExplainedChange: ...


@dataclass(frozen=True)
class MissingDependency:
    """A server that does not answer, and the sentence that says what to do."""

    name: str
    message: str


class Readiness(Protocol):
    """Asks every server that predictions need."""

    async def missing(self) -> Sequence[MissingDependency]: ...


class MetricsSource(Protocol):
    """Metrics of the whole cluster in the Prometheus text format."""

    async def exposition(self) -> str: ...


class Training(Protocol):
    """Training runs; errors come from `core.errors`."""

    async def start(self, order: TrainingOrder, *, key: str, asker: Asker) -> RunReport: ...

    async def status(self, job_id: UUID) -> RunReport: ...

    async def stop(self, job_id: UUID, *, asker: Asker) -> RunReport: ...


class Models(Protocol):
    """Registered models; errors come from `core.errors`."""

    async def list(self, *, limit: int) -> Sequence[RegisteredModel]: ...

    async def describe(self, version: ModelVersion) -> RegisteredModel: ...

    async def report(self, version: ModelVersion) -> dict[str, Any] | None: ...

    async def card(self, version: ModelVersion) -> str: ...


@dataclass(frozen=True)
class Services:
    """Everything that the routes use. `token_sha256` is the hexadecimal SHA-256 of the bearer token."""

    scoring: Scoring
    changes: Changes
    readiness: Readiness
    metrics: MetricsSource
    training: Training
    models: Models
    feedback: FeedbackStore
    token_sha256: str
    version: str

    @property
    def actor(self) -> str:
        """Who asks, for the audit trail."""
        return f"token-{self.token_sha256[:8]}"
