"""What the HTTP API needs from the rest of the system, as Protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.messages import Answer, Question, ServedModel
from edupulse_ml.core.ids import StudentId
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


@dataclass(frozen=True)
class Services:
    """Everything that the routes use. `token_sha256` is the hexadecimal SHA-256 of the bearer token."""

    scoring: Scoring
    readiness: Readiness
    metrics: MetricsSource
    feedback: FeedbackStore
    token_sha256: str
    version: str

    @property
    def actor(self) -> str:
        """Who asks, for the audit trail."""
        return f"token-{self.token_sha256[:8]}"
