"""`ScoringRunStore`: scorings of a whole district, stored chunk by chunk so that a killed one can be continued."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.predictions import CATEGORIES, Prediction
from edupulse_ml.storage.arrays import encode_rows
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.prediction_rows import prediction_from_row
from edupulse_ml.storage.sql import load_queries

INSUFFICIENT: Final = -1
"""Category of a student with too little data."""


@dataclass(frozen=True)
class ScoringKind:
    """What makes two scorings the same: model, features, last week and day. `source` is empty for the windows of the
    database, else it names a folder's. `follows_clock`: asked for as of now.
    """

    model_version: ModelVersion
    contract_fingerprint: str
    source: str
    feature_week: date
    as_of_day: date
    follows_clock: bool


@dataclass(frozen=True)
class ScoringRun:
    """One scoring of the district. `finished_at` None: chunks are missing. All its predictions are as of `as_of`."""

    run_id: UUID
    model_version: ModelVersion
    as_of: datetime
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Chunk:
    """The students with keys from `first` to `last`, both included, or, where `file` is not empty, the rows of those
    row groups of a file of windows. `students` counts all of them, enrolled or not.
    """

    file: str
    first: int
    last: int
    students: int

    @property
    def name(self) -> str:
        """Unique within a run; fit for a file."""
        return f"{self.file.removesuffix('.parquet') or 'students'}-{self.first:010d}"


@dataclass(frozen=True)
class ScoredRows:
    """Answers about N students as columns [N]. `category` is a position in `CATEGORIES` or `INSUFFICIENT`, and then
    the scores mean nothing. `coverage` [N, 3] is the share of the window's weeks with records, per modality.
    """

    category: NDArray[np.int8]
    feature_week: NDArray[np.int32]
    """[N] Monday's day number of the last week seen; any day where insufficient."""
    risk_score: NDArray[np.float64]
    risk_60plus: NDArray[np.float64]
    coverage: NDArray[np.float64]
    weeks: NDArray[np.int32]

    @property
    def scored(self) -> int:
        return int((self.category != INSUFFICIENT).sum())


@dataclass(frozen=True)
class KeyedRows:
    """Whom the rows are about: `student_key` [N], distinct."""

    student_key: NDArray[np.int64]
    rows: ScoredRows


@dataclass(frozen=True)
class ScoringTotals:
    """Students scored, without enough data, and in the key ranges of the chunks that are stored."""

    scored: int
    insufficient: int
    students: int


@dataclass(frozen=True)
class Origin:
    """What every stored row of a chunk says about where it comes from."""

    policy_version: str
    actor: str
    action: str


class ScoringRunStore:
    """Scoring runs of the database's district."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("scoring")

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None, None]:
        """Be the only one who scores the whole district; another one waits until the block ends.

        Raises:
            DependencyDownError: PostgreSQL does not answer, or the connection that held the lock was lost meanwhile.
        """
        async with self._database.dedicated() as connection:
            await connection.execute(self._queries["keep_idle_session"])
            await connection.execute(self._queries["take_lock"])
            yield
            await connection.execute(self._queries["release_lock"])

    async def find(self, kind: ScoringKind) -> ScoringRun | None:
        """The latest run of this kind since the last import; None where there is none. A finished one counts on its
        day only, an unfinished one that follows the clock for its whole week.
        """
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["find_run"], vars(kind))
            row = await cursor.fetchone()
        return None if row is None else _run(row)

    async def begin(
        self, kind: ScoringKind, plan: Sequence[Chunk], *, as_of: datetime, started_at: datetime
    ) -> ScoringRun:
        """A new run, none of whose chunks is stored."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                self._queries["begin_run"], {**vars(kind), "as_of": as_of, "started_at": started_at}
            )
            ((*row,),) = await cursor.fetchall()
            run = _run(row)
            columns = {name: [getattr(chunk, name) for chunk in plan] for name in ("file", "first", "last", "students")}
            await connection.execute(self._queries["begin_chunks"], {"run_id": run.run_id, **columns})
        return run

    async def plan(self, *, students_per_chunk: int) -> list[Chunk]:
        """All students of the district in ranges of at most `students_per_chunk`, by rising key."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["plan"], {"students": students_per_chunk})
            return [Chunk(*row) for row in await cursor.fetchall()]

    async def last_import(self) -> int:
        """Number of the district's latest import; 0 before the first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["last_import"])
            ((number,),) = await cursor.fetchall()
        return number

    async def version_scored(self, *, before: datetime) -> ModelVersion | None:
        """The version that the district was last scored with as of the moment, of the scorings that finished before then;
        None where there is none.
        """
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["version_scored"], {"before": before})
            row = await cursor.fetchone()
        return None if row is None else ModelVersion(row[0])

    async def missing(self, run: ScoringRun) -> list[Chunk]:
        """The run's chunks that are not stored yet."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["missing_chunks"], {"run_id": run.run_id})
            return [Chunk(*row) for row in await cursor.fetchall()]

    async def keys_between(self, chunk: Chunk) -> NDArray[np.int64]:
        """Keys of the range's students, rising."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["keys_between"], vars(chunk), binary=True)
            ((keys,),) = await cursor.fetchall()
        return keys

    async def save_chunk(
        self, run: ScoringRun, chunk: Chunk, answers: KeyedRows, *, origin: Origin, created_at: datetime
    ) -> bool:
        """Store the chunk's predictions, one audit row per answer, and that it is done, durably in one transaction.
        False where it had been stored before: nothing was added.

        Raises:
            DependencyDownError: PostgreSQL does not answer; nothing was stored.
        """
        values = {
            "as_of": run.as_of,
            "created_at": created_at,
            "model_version": run.model_version,
            "run_id": run.run_id,
            "categories": list(CATEGORIES),
            **vars(origin),
        }
        async with self._database.connection() as connection:
            try:
                return await self._save(connection, chunk, answers, values)
            except psycopg.errors.CheckViolation:
                # A new month has begun: its partitions are missing until the first row asks for them.
                await _ensure_months(connection, created_at)
                return await self._save(connection, chunk, answers, values)

    async def finish(self, run: ScoringRun, *, finished_at: datetime) -> ScoringTotals:
        """Note that the run is complete.

        Raises:
            ConflictError: chunks are missing.
        """
        parameters = {"run_id": run.run_id, "finished_at": finished_at}
        async with self._database.connection() as connection:
            changed = await connection.execute(self._queries["finish_run"], parameters)
        if changed.rowcount == 0:
            raise ConflictError(f"Scoring run {run.run_id} lacks chunks: run `edupulse score` again to continue it.")
        return await self.totals(run)

    async def totals(self, run: ScoringRun) -> ScoringTotals:
        """What the chunks stored so far add up to."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["totals"], {"run_id": run.run_id})
            ((*row,),) = await cursor.fetchall()
        return ScoringTotals(*row)

    async def highest(self, run: ScoringRun, *, limit: int) -> list[Prediction]:
        """The run's predictions with the highest risk, highest first."""
        parameters = {**vars(run), "limit": limit}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["highest"], parameters)
            return [prediction_from_row(StudentId(row[0]), row[1:]) for row in await cursor.fetchall()]

    async def _save(
        self, connection: Connection, chunk: Chunk, answers: KeyedRows, values: Mapping[str, object]
    ) -> bool:
        scored = answers.rows.scored
        done = {
            "run_id": values["run_id"],
            "file": chunk.file,
            "first": chunk.first,
            "finished_at": values["created_at"],
            "scored": scored,
            "insufficient": len(answers.student_key) - scored,
        }
        async with connection.transaction():
            changed = await connection.execute(self._queries["finish_chunk"], done)
            if changed.rowcount == 0:
                return False
            await connection.execute(self._queries["create_stage"])
            async with connection.cursor() as cursor, cursor.copy(self._queries["copy_stage"]) as copy:
                await copy.write(_encode(answers))
            await connection.execute(self._queries["save_stage"], values)
        return True


async def _ensure_months(connection: Connection, created_at: datetime) -> None:
    queries = load_queries("predictions")
    months = [created_at.astimezone(UTC).date().replace(day=1)]
    await connection.execute(queries["ensure_months"], {"months": months})
    await connection.execute(queries["ensure_audit_months"])


def _run(row: Sequence[Any]) -> ScoringRun:
    run_id, model_version, as_of, started_at, finished_at = row
    return ScoringRun(run_id, ModelVersion(model_version), as_of, started_at, finished_at)


def _encode(answers: KeyedRows) -> bytes:
    """Binary COPY data for `scored_stage`."""
    rows = answers.rows
    return encode_rows(
        [
            ("int8", answers.student_key),
            ("int2", rows.category),
            ("date", rows.feature_week),
            ("float8", rows.risk_score),
            ("float8", rows.risk_60plus),
            ("float8", rows.coverage[:, 0]),
            ("float8", rows.coverage[:, 1]),
            ("float8", rows.coverage[:, 2]),
            ("int2", rows.weeks),
        ]
    )
