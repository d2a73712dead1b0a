"""Takes feedback for the gateway, within the time that a caller waits."""

from collections.abc import Sequence
from typing import Final

from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.feedback import Feedback, FeedbackStatus
from edupulse_ml.core.ports import FeedbackStore

_POSTGRESQL: Final = "postgresql"


class FeedbackService:
    """Belongs to one event loop.

    Args:
        store: Where feedback is kept.
        answer_timeout_s: Longest wait for it, in seconds.
    """

    def __init__(self, store: FeedbackStore, *, answer_timeout_s: float) -> None:
        self._store = store
        self._limit = TimeLimit(answer_timeout_s)

    async def give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        """Store all of the statements or none; their statuses in the order given.

        Raises:
            FeedbackRefusedError: some cannot be taken.
            DependencyDownError: PostgreSQL does not answer, or not in time. It may have stored them: the same keys may
                be sent again.
        """
        work = self._give(statements, actor=actor, request_id=request_id)
        return await self._limit.run(work, Waiting(_POSTGRESQL))

    async def _give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        return await self._store.give(statements, actor=actor, request_id=request_id)
