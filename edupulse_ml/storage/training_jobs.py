"""The list of training runs: queued or begun, what they say of themselves, and how they ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.training_runs import MAX_LINES, STOPPED, Ending, RunLine, RunState, TrainingJob
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.sql import load_queries

_NAMES: Final = tuple(item.name for item in fields(TrainingJob))
_COLUMNS: Final = sql.SQL(", ").join(map(sql.Identifier, _NAMES))


@dataclass(frozen=True)
class NewRun:
    """A run to be kept: `queued` for a job on Ray (`submission_id`), which takes it up by its `request`, or `running`
    in this process. `parameters` and `request` must be JSON and hold no student data.
    """

    job_id: UUID
    status: RunState
    asked_by: str
    request_id: str
    parameters: Mapping[str, object]
    submission_id: str | None = None
    request: Mapping[str, object] | None = None
    request_sha256: str | None = None
    idempotency_key: str | None = None
    run_name: str | None = None


@dataclass(frozen=True)
class News:
    """What a run says of itself: `step` and `metrics` None where nothing is new; `lines` are added. No student data."""

    step: str | None = None
    epoch: int | None = None
    of_epochs: int | None = None
    metrics: Mapping[str, float] | None = None
    lines: Sequence[RunLine] = ()


class TrainingJobRepository:
    """Training runs of the database's district."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._queries = load_queries("training_jobs")

    async def start_search(self, *, parameters: Mapping[str, object]) -> UUID:
        """Note that a search begins now, which other runs of the district do not wait for; `parameters` must be JSON and
        hold no student data.
        """
        job_id = uuid4()
        await self._execute(
            "start_search",
            job_id=job_id,
            at=self._clock.now(),
            parameters=Jsonb(dict(parameters)),
        )
        return job_id

    async def claim(self, run: NewRun) -> bool:
        """Keep `run` and audit it; False, and nothing kept, where another training run of the district is under way or
        one with its key is known.
        """
        kept = {name: getattr(run, name) for name in NewRun.__dataclass_fields__}
        kept["parameters"] = Jsonb(dict(run.parameters))
        kept["request"] = None if run.request is None else Jsonb(dict(run.request))
        return await self._audited("claim", at=self._clock.now(), **kept) == 1

    async def refused(self, *, asked_by: str, request_id: str) -> None:
        """Audit that a run was asked for and not begun."""
        await self._audited("refused", asked_by=asked_by, request_id=request_id)

    async def take_up(self, job_id: UUID) -> TrainingJob:
        """Begin a run that waits in the queue, in this process.

        Raises:
            ConflictError: it does not wait: it was stopped, or another process has it.
        """
        found = await self._select("take_up", job_id=job_id, at=self._clock.now())
        if not found:
            raise ConflictError(f"Training run {job_id} does not wait to be begun: it was stopped, or runs already.")
        return found[0]

    async def hear(self, job_id: UUID, news: News) -> RunState | None:
        """Keep a sign of life and what is new. What the run is asked to be: `running` or `stopping`; None where it was
        taken for ended meanwhile.
        """
        lines = [{"at": line.at.isoformat(), "text": line.text} for line in news.lines]
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                self._queries["hear"],
                {
                    "job_id": job_id,
                    "at": self._clock.now(),
                    "step": news.step,
                    "epoch": news.epoch,
                    "of_epochs": news.of_epochs,
                    "metrics": None if news.metrics is None else Jsonb(dict(news.metrics)),
                    "lines": Jsonb(lines),
                    "max_lines": MAX_LINES,
                },
            )
            row = await cursor.fetchone()
        return None if row is None else row[0]

    async def ask_to_stop(self, job_id: UUID, *, asked_by: str, request_id: str) -> bool:
        """End a queued run, or tell a running one to end, and audit it; False where neither is to be done."""
        asked = {"job_id": job_id, "asked_by": asked_by, "request_id": request_id}
        return await self._audited("ask_to_stop", at=self._clock.now(), stopped=STOPPED, **asked) == 1

    async def settle(self, job: TrainingJob, ending: Ending, *, forget_key: bool = False) -> bool:
        """Keep how `job` ended without a word of its own; False where its row has changed since `job` was read.
        `forget_key`: the same key may ask again.
        """
        changed = await self._execute(
            "settle",
            job_id=job.job_id,
            was=job.status,
            status=ending.status,
            sentence=ending.sentence,
            at=self._clock.now(),
            forget_key=forget_key,
        )
        return changed == 1

    async def succeed(self, job_id: UUID, *, model_version: ModelVersion, summary: Mapping[str, object]) -> None:
        """The run ended with a registered model; `summary` must be JSON.

        Raises:
            ConflictError: no such run is under way.
        """
        await self._finish(job_id, status="succeeded", model_version=model_version, summary=Jsonb(dict(summary)))

    async def fail(self, job_id: UUID, *, error: str) -> None:
        """The run ended without a model; `error` is a sentence without student data. Stopped, if it was asked to stop.

        Raises:
            ConflictError: no such run is under way.
        """
        await self._finish(job_id, status="failed", error=error)

    async def latest(self, *, limit: int) -> Sequence[TrainingJob]:
        """The runs begun last, newest first."""
        return await self._select("latest", limit=limit)

    async def find(self, job_id: UUID) -> TrainingJob:
        """One run.

        Raises:
            NotFoundError: the district has no such run.
        """
        found = await self._select("find", job_id=job_id)
        if not found:
            raise NotFoundError("This district has no training run with the id asked for.")
        return found[0]

    async def with_key(self, key: str) -> TrainingJob | None:
        """The run that was asked for with this idempotency key."""
        found = await self._select("with_key", key=key)
        return found[0] if found else None

    async def knows_run_name(self, run_name: str) -> bool:
        """Whether a run of the district keeps, or has kept, checkpoints under this name."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["knows_run_name"], {"run_name": run_name})
            return await cursor.fetchone() == (True,)

    async def under_way(self) -> TrainingJob | None:
        """The run that the next one has to wait for."""
        found = await self._select("under_way")
        return found[0] if found else None

    async def seconds_of_runs_like(self, job_id: UUID) -> Sequence[float]:
        """What the last runs took that were asked for the same, but for seed and test year; empty where there are none."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["seconds_of_runs_like"], {"job_id": job_id})
            return [row[0] for row in await cursor.fetchall()]

    async def _finish(
        self,
        job_id: UUID,
        *,
        status: RunState,
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

    async def _audited(self, query: str, **parameters: object) -> int:
        async with self._database.connection() as connection:
            try:
                cursor = await connection.execute(self._queries[query], parameters)
            except psycopg.errors.CheckViolation:
                # A new month has begun: its partition of the audit trail is made by the first row that asks for it.
                await connection.execute(self._queries["ensure_audit_months"])
                cursor = await connection.execute(self._queries[query], parameters)
            return cursor.rowcount

    async def _execute(self, query: str, **parameters: object) -> int:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query], parameters)
            return cursor.rowcount

    async def _select(self, query: str, **parameters: object) -> list[TrainingJob]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query].format(columns=_COLUMNS), parameters)
            return [_job(row) for row in await cursor.fetchall()]


def _job(row: tuple[Any, ...]) -> TrainingJob:
    known = dict(zip(_NAMES, row, strict=True))
    lines = tuple(RunLine(datetime.fromisoformat(item["at"]), item["text"]) for item in known.pop("lines"))
    return TrainingJob(**known, lines=lines)
