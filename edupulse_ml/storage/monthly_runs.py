"""The month of a district: its runs, the state of each step, and the lock that lets one run at a time."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.errors import translated_errors
from edupulse_ml.storage.sql import load_queries

MonthOutcome = Literal["first", "promoted", "refused", "blocked"]
"""What became of the candidate: the district's first champion, the new champion, refused by the policy; `blocked`: none
was trained, because of the data.
"""


class MonthUnderWayError(ConflictError):
    """Another run of a month of this district has not ended."""


@dataclass(frozen=True)
class MonthlyRun:
    """One run of a month, which is named by its first day; `number` counts the runs of that month from 1.
    `finished_at` and `outcome` are None until it has ended.
    """

    run_id: UUID
    month: date
    number: int
    started_at: datetime
    parameters: Mapping[str, object]
    finished_at: datetime | None
    outcome: MonthOutcome | None

    @property
    def name(self) -> str:
        """`2026-11`, and `2026-11-2` for the second run of that month."""
        return f"{self.month:%Y-%m}" + (f"-{self.number}" if self.number > 1 else "")


@dataclass(frozen=True)
class MonthlyStep:
    """One step of a run. `started_at` is of the latest of its `tries`; `result` is None until it is done, `error` unless
    the latest try failed and could still say why.
    """

    step: str
    tries: int
    started_at: datetime
    finished_at: datetime | None
    result: Mapping[str, Any] | None
    error: str | None


class MonthlyRunStore:
    """Runs of the database's district."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._queries = load_queries("monthly_runs")

    @asynccontextmanager
    async def exclusive(self, *, patience_s: float = 5.0) -> AsyncGenerator["MonthlyRunWriter", None]:
        """Be the only one who runs a month in this district, on all machines; freed also when the process is killed. What
        the writer writes goes over the connection that holds the lock, so that whoever lost it can note nothing more.

        Raises:
            MonthUnderWayError: somebody else is inside, and still is after `patience_s` seconds: longer than the server
                takes to notice that a process on its machine was killed.
            DependencyDownError: PostgreSQL does not answer, or the connection was lost meanwhile.
        """
        async with self._database.dedicated() as connection:
            await connection.execute(self._queries["keep_idle_session"])
            await connection.execute(self._queries["patience"], {"milliseconds": max(1, round(patience_s * 1000))})
            try:
                await connection.execute(self._queries["lock"])
            except psycopg.errors.LockNotAvailable:
                raise MonthUnderWayError(
                    f"Another run of a month of district {self._database.district_id} is under way: let it end. If its"
                    " machine is gone, its lock goes within half a minute."
                ) from None
            await connection.execute(self._queries["any_patience"])
            yield MonthlyRunWriter(connection, clock=self._clock)

    async def latest(self, month: date) -> MonthlyRun | None:
        """The last run of the month that begins on `month`; None before the first."""
        return await self._run("latest", month)

    async def finished_before(self, month: date) -> MonthlyRun | None:
        """The last run of an earlier month in which a candidate was judged; None where there is none."""
        return await self._run("finished_before", month)

    async def steps(self, run: MonthlyRun) -> Mapping[str, MonthlyStep]:
        """The steps begun so far by name, in the order in which they were last begun."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["steps"], {"run_id": run.run_id})
            found = [MonthlyStep(*row) for row in await cursor.fetchall()]
        return {step.step: step for step in found}

    async def _run(self, query: str, month: date) -> MonthlyRun | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query], {"month": month})
            row = await cursor.fetchone()
        return None if row is None else MonthlyRun(*row)


class MonthlyRunWriter:
    """Notes what happens to the district's months; valid inside `MonthlyRunStore.exclusive`."""

    def __init__(self, connection: Connection, *, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._queries = load_queries("monthly_runs")

    async def begin(self, month: date, *, parameters: Mapping[str, object]) -> MonthlyRun:
        """A new run of the month that begins on `month`; `parameters` must be JSON."""
        values = {
            "run_id": uuid4(),
            "month": month,
            "started_at": self._clock.now(),
            "parameters": Jsonb(dict(parameters)),
        }
        with translated_errors():
            cursor = await self._connection.execute(self._queries["begin"], values)
            (row,) = await cursor.fetchall()
        return MonthlyRun(*row)

    async def finish(self, run: MonthlyRun, *, outcome: MonthOutcome) -> None:
        """The run has ended.

        Raises:
            ConflictError: it had ended before.
        """
        await self._execute("finish", run, finished_at=self._clock.now(), outcome=outcome)

    async def begin_step(self, run: MonthlyRun, step: str) -> None:
        """A try of the step begins.

        Raises:
            ConflictError: it is done.
        """
        await self._execute("begin_step", run, step=step, started_at=self._clock.now())

    async def finish_step(self, run: MonthlyRun, step: str, *, result: Mapping[str, Any]) -> None:
        """The step is done; `result` must be JSON and hold no student data.

        Raises:
            ConflictError: it had not begun, or was done before.
        """
        await self._execute("finish_step", run, step=step, finished_at=self._clock.now(), result=Jsonb(dict(result)))

    async def fail_step(self, run: MonthlyRun, step: str, *, error: str) -> None:
        """The try failed; `error` is a sentence without student data.

        Raises:
            ConflictError: the step had not begun, or was done before.
        """
        await self._execute("fail_step", run, step=step, error=error)

    async def _execute(self, query: str, run: MonthlyRun, **values: object) -> None:
        with translated_errors():
            cursor = await self._connection.execute(self._queries[query], {"run_id": run.run_id, **values})
        if cursor.rowcount != 1:
            raise ConflictError(
                f"The run {run.name} is not where it was left ({query}): somebody else has written to it. Start the same"
                " command again."
            )
