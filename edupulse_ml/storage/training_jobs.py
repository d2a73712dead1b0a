"""The list of training runs: begun, and how they ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.sql import load_queries

JobStatus = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True)
class TrainingJob:
    """One run. `model_version` and `summary` are None unless it succeeded, `error` unless it failed."""

    job_id: UUID
    kind: str
    status: JobStatus
    started_at: datetime
    finished_at: datetime | None
    parameters: Mapping[str, object]
    model_version: str | None
    summary: Mapping[str, object] | None
    error: str | None


class TrainingJobRepository:
    """Training runs of the database's district."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._queries = load_queries("training_jobs")

    async def start(self, *, kind: str, parameters: Mapping[str, object]) -> UUID:
        """Note that a run begins now; `parameters` must be JSON and hold no student data."""
        job_id = uuid4()
        await self._execute(
            "start",
            job_id=job_id,
            kind=kind,
            started_at=self._clock.now(),
            parameters=Jsonb(dict(parameters)),
        )
        return job_id

    async def succeed(self, job_id: UUID, *, model_version: ModelVersion, summary: Mapping[str, object]) -> None:
        """The run ended with a registered model; `summary` must be JSON.

        Raises:
            ConflictError: no such run is under way.
        """
        await self._finish(job_id, status="succeeded", model_version=model_version, summary=Jsonb(dict(summary)))

    async def fail(self, job_id: UUID, *, error: str) -> None:
        """The run ended without a model; `error` is a sentence without student data.

        Raises:
            ConflictError: no such run is under way.
        """
        await self._finish(job_id, status="failed", error=error)

    async def latest(self, *, limit: int) -> Sequence[TrainingJob]:
        """The runs begun last, newest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["latest"], {"limit": limit})
            return [TrainingJob(*row) for row in await cursor.fetchall()]

    async def _finish(
        self,
        job_id: UUID,
        *,
        status: JobStatus,
        model_version: str | None = None,
        summary: Jsonb | None = None,
        error: str | None = None,
    ) -> None:
        changed = await self._execute(
            "finish",
            job_id=job_id,
            status=status,
            finished_at=self._clock.now(),
            model_version=model_version,
            summary=summary,
            error=error,
        )
        if changed == 0:
            raise ConflictError(f"Training run {job_id} is not under way: it has ended or was never started.")

    async def _execute(self, query: str, **parameters: object) -> int:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query], parameters)
            return cursor.rowcount
