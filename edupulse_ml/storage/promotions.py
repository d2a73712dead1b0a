"""Who moved the champion, why and on which figures; and the lock that lets one do so at a time."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.sql import load_queries

PromotionKind = Literal["promotion", "refusal", "override", "rollback"]


class PromotionUnderWayError(ConflictError):
    """Another promotion or rollback of this district has not ended."""


@dataclass(frozen=True)
class Promotion:
    """One decision. `moved_at` None: refused, or the process ended before the alias moved. `policy_version` None and
    `figures` empty: a rollback, which judges nothing.
    """

    promotion_id: UUID
    kind: PromotionKind
    decided_at: datetime
    decided_by: str
    reason: str | None
    from_version: str | None
    to_version: str
    policy_version: str | None
    figures: Mapping[str, object]
    moved_at: datetime | None


@dataclass(frozen=True)
class Decision:
    """What is to be written down. `reason` must be given for an override and a rollback; `figures` must be JSON and hold
    no student data.
    """

    kind: PromotionKind
    decided_by: str
    from_version: ModelVersion | None
    to_version: ModelVersion
    reason: str | None = None
    policy_version: str | None = None
    figures: Mapping[str, object] | None = None


class PromotionRepository:
    """Promotions of the database's district."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._queries = load_queries("promotions")

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None, None]:
        """Be the only one inside this block, in this district, on all machines; freed also when the process is killed.

        Raises:
            PromotionUnderWayError: somebody else is inside.
        """
        async with self._database.dedicated() as connection:
            cursor = await connection.execute(self._queries["lock"])
            if await cursor.fetchone() != (True,):
                raise PromotionUnderWayError(
                    f"Another promotion or rollback of district {self._database.district_id} is under way: wait for it to"
                    " end, look at the champion, and try again."
                )
            yield

    async def decide(self, decision: Decision) -> Promotion:
        """Keep the decision, and one row of the audit trail, before anything moves."""
        kept = Promotion(
            promotion_id=uuid4(),
            kind=decision.kind,
            decided_at=self._clock.now(),
            decided_by=decision.decided_by,
            reason=decision.reason,
            from_version=decision.from_version,
            to_version=decision.to_version,
            policy_version=decision.policy_version,
            figures=dict(decision.figures or {}),
            moved_at=None,
        )
        parameters = {**vars(kept), "figures": Jsonb(kept.figures)}
        async with self._database.connection() as connection:
            try:
                await connection.execute(self._queries["decide"], parameters)
            except psycopg.errors.CheckViolation:
                # A new month has begun: its partition of the audit trail is made by the first row that asks for it.
                await connection.execute(self._queries["ensure_audit_months"])
                await connection.execute(self._queries["decide"], parameters)
        return kept

    async def moved(self, promotion_id: UUID) -> None:
        """Note that the alias has moved.

        Raises:
            ConflictError: no such decision waits for its move.
        """
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                self._queries["moved"], {"promotion_id": promotion_id, "moved_at": self._clock.now()}
            )
            if cursor.rowcount != 1:
                raise ConflictError(f"Promotion {promotion_id} does not exist or has moved the champion before.")

    async def latest(self, *, limit: int) -> Sequence[Promotion]:
        """The decisions made last, newest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["latest"], {"limit": limit})
            return [Promotion(*row) for row in await cursor.fetchall()]

    async def moves(self) -> Sequence[Promotion]:
        """Every decision after which the alias moved, oldest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["moves"])
            return [Promotion(*row) for row in await cursor.fetchall()]
