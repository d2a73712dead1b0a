"""Takes feedback for the gateway, within the time that a caller waits, and without taking connections from predictions."""

import asyncio
from collections.abc import Sequence
from typing import Final

from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.feedback import Feedback, FeedbackBusyError, FeedbackStatus
from edupulse_ml.core.ports import FeedbackStore

_POSTGRESQL: Final = "postgresql"


class FeedbackService:
    """One request at a time is written, because the store lets one writer in: others would wait there, each with a
    connection that predictions need. Belongs to one event loop.

    Args:
        store: Where feedback is kept.
        answer_timeout_s: Longest wait for it, in seconds; half of it at most is spent waiting for a turn.
    """

    def __init__(self, store: FeedbackStore, *, answer_timeout_s: float) -> None:
        self._store = store
        self._limit = TimeLimit(answer_timeout_s)
        self._turn = asyncio.Lock()
        self._turn_wait_s = answer_timeout_s / 2

    async def give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        """Store all of the statements or none; their statuses in the order given.

        Raises:
            FeedbackRefusedError: some cannot be taken.
            FeedbackBusyError: others who give feedback take too long; nothing was stored.
            DependencyDownError: PostgreSQL does not answer, or not in time. It may have stored them: the same keys may
                be sent again.
        """
        work = self._give(statements, actor=actor, request_id=request_id)
        return await self._limit.run(work, Waiting(_POSTGRESQL))

    async def _give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        try:
            await asyncio.wait_for(self._turn.acquire(), self._turn_wait_s)
        except TimeoutError:
            msg = "Others are giving feedback, and one request is written at a time: send it again in a moment."
            raise FeedbackBusyError(msg, dependency=_POSTGRESQL) from None
        try:
            return await self._store.give(statements, actor=actor, request_id=request_id)
        finally:
            # A caller who gave up frees the turn only now: until the driver lets go, its connection is taken.
            self._turn.release()
