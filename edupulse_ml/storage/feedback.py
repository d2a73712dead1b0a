"""`FeedbackRepository`: takes what people say about students, keeps every version of it, and audits who said it."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.feedback import Feedback, FeedbackBusyError, FeedbackProblem, FeedbackStatus, refusal
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.errors import DEPENDENCY
from edupulse_ml.storage.feedback_rows import Content, StoredStatement, content_of, find_row, judge
from edupulse_ml.storage.sql import load_queries


@dataclass(frozen=True)
class Taken:
    """What became of the statements, in the order given: a status, or the reason why one was not stored."""

    results: tuple[FeedbackStatus | FeedbackProblem, ...]

    @property
    def problems(self) -> tuple[FeedbackProblem, ...]:
        return tuple(result for result in self.results if isinstance(result, FeedbackProblem))


LOCK_WAIT_S: Final = 2.0
"""How long a request waits for another writer: a list that is being imported keeps the others waiting until its end."""


class FeedbackRepository:
    """Feedback of the database's district.

    Args:
        database: Where it is kept.
        clock: Dates it.
        lock_wait_s: How long `give` waits for another writer, in seconds; meanwhile it holds a connection of the pool.
    """

    def __init__(self, database: Database, *, clock: Clock, lock_wait_s: float = LOCK_WAIT_S) -> None:
        self._database = database
        self._clock = clock
        self._lock_wait_s = lock_wait_s
        self._queries = load_queries("feedback")

    async def give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        """Store all of the statements, durably, with one audit row each, or none; their statuses in the order given.

        Raises:
            UnknownInFeedbackError, FeedbackConflictError, UnusableFeedbackError: by the first problem's kind.
            FeedbackBusyError: another writer is at work, such as an import; nothing was stored.
            DependencyDownError: PostgreSQL does not answer; nothing was stored.
        """
        async with self._database.transaction() as connection:
            session = FeedbackSession(connection, actor=actor, request_id=request_id, now=self._clock.now())
            await session.begin_within(self._lock_wait_s)
            taken = await session.take(statements, some=False)
        if taken.problems:
            raise refusal(taken.problems, given=len(statements))
        return [result for result in taken.results if not isinstance(result, FeedbackProblem)]

    @asynccontextmanager
    async def importing(self, *, actor: str, request_id: str) -> AsyncGenerator["FeedbackSession", None]:
        """A session for a district's list: one transaction, rolled back when the block raises.

        Raises:
            DependencyDownError: PostgreSQL does not answer.
        """
        async with self._database.dedicated() as connection, connection.transaction():
            session = FeedbackSession(connection, actor=actor, request_id=request_id, now=self._clock.now())
            await session.begin()
            yield session


class FeedbackSession:
    """Takes statements inside one transaction, in which it is the district's only writer."""

    def __init__(self, connection: Connection, *, actor: str, request_id: str, now: datetime) -> None:
        self._connection = connection
        self._actor = actor
        self._request_id = request_id
        self._now = now
        self._queries = load_queries("feedback")

    async def begin(self) -> None:
        """Wait for other writers, as long as they take; called once, first."""
        await self._connection.execute(self._queries["lock"])

    async def begin_within(self, wait_s: float) -> None:
        """As `begin`, for at most `wait_s` seconds.

        Raises:
            FeedbackBusyError: other writers took longer.
        """
        await self._connection.execute(self._queries["limit_wait"], {"wait": f"{max(1, round(wait_s * 1000))}ms"})
        try:
            await self.begin()
        except psycopg.errors.LockNotAvailable:
            msg = (
                "Another writer of feedback is at work, such as `edupulse import feedback`: send it again in a moment."
            )
            raise FeedbackBusyError(msg, dependency=DEPENDENCY) from None

    async def take(self, statements: Sequence[Feedback], *, some: bool = True) -> Taken:
        """Store what can be stored; with `some` false only if that is everything."""
        stored = await self._find(statements)
        results: list[FeedbackStatus | FeedbackProblem] = []
        contents: list[tuple[Content, FeedbackStatus]] = []
        seen: set[str] = set()
        for position, (statement, found) in enumerate(zip(statements, stored, strict=True)):
            if statement.key in seen:
                results.append(FeedbackProblem(position, "key", 422, "Another statement here has the same key."))
                continue
            seen.add(statement.key)
            judged = judge(statement, found, position=position, now=self._now)
            results.append(judged)
            if not isinstance(judged, FeedbackProblem):
                contents.append((content_of(statement, found, now=self._now), judged))
        taken = Taken(tuple(results))
        if contents and (some or not taken.problems):
            await self._store(contents)
        return taken

    async def _find(self, statements: Sequence[Feedback]) -> Sequence[StoredStatement]:
        rows = json.dumps([find_row(statement, position) for position, statement in enumerate(statements)])
        cursor = await self._connection.execute(self._queries["find"], {"rows": rows})
        return [StoredStatement(*row[1:]) for row in await cursor.fetchall()]

    async def _store(self, contents: Sequence[tuple[Content, FeedbackStatus]]) -> None:
        changed = [content for content, status in contents if status != "unchanged"]
        corrected = [content for content, status in contents if status == "corrected"]
        if corrected:
            await self._connection.execute(self._queries["supersede"], {"rows": json.dumps(corrected)})
        if changed:
            await self._connection.execute(self._queries["insert"], {"rows": json.dumps(changed)})
        audited = [{**content, "status": status} for content, status in contents]
        parameters: dict[str, Any] = {
            "actor": self._actor,
            "request_id": self._request_id,
            "rows": json.dumps(audited),
        }
        try:
            async with self._connection.transaction():
                await self._connection.execute(self._queries["audit"], parameters)
        except psycopg.errors.CheckViolation:
            # A new month has begun: its partition of the audit trail is made by the first row that asks for it.
            await self._connection.execute(self._queries["ensure_audit_months"])
            await self._connection.execute(self._queries["audit"], parameters)
