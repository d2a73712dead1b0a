"""Scores, after the answers have left, what the champion answered: by the challenger, unheard."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from deployments.asked import Asked
from deployments.batch_answers import batch_answers
from deployments.lane import Fresh, RiskPipeline
from deployments.messages import FetchRequest
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.challenge import Challenge, ShadowPrediction
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.ids import PredictionId
from edupulse_ml.core.ports import ChallengeStore
from edupulse_ml.core.predictions import Prediction

_log: Final = logging.getLogger("ray.serve")


class ShadowMetrics(Protocol):
    """Counts students by outcome: `scored` and stored, `dropped` for want of room or of a challenger, `failed`."""

    def shadowed(self, students: int, *, outcome: str) -> None: ...


@dataclass(frozen=True)
class ShadowLimits:
    """Bounds on the work in the shadow.

    Args:
        max_waiting: Students that may wait; more are dropped.
        batch_size: Most students of one call; one call is under way at a time.
        gather_s: How long a call waits for company, in seconds; longer than answers take to leave.
        timeout_s: Longest wait for a call and for storing what it said, in seconds.
        pause_s: How long everything is dropped after a failure, in seconds.
    """

    max_waiting: int = 1024
    batch_size: int = 64
    gather_s: float = 0.25
    timeout_s: float = 10.0
    pause_s: float = 5.0


class ShadowQueue:
    """A bounded queue in front of the challenger. Belongs to one event loop.

    Args:
        pipeline: Feature fetcher and challenger.
        store: Keeps what the challenger says.
        ready: The challenge, while a challenger can be asked; else None.
        clock: Dates what is stored.
        new_id: Makes prediction ids.
        metrics: Counters.
        limits: Bounds.
    """

    def __init__(
        self,
        *,
        pipeline: RiskPipeline,
        store: ChallengeStore,
        ready: Callable[[], Challenge | None],
        clock: Clock,
        new_id: Callable[[], PredictionId],
        metrics: ShadowMetrics,
        limits: ShadowLimits = ShadowLimits(),
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._ready = ready
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._limits = limits
        self._limit = TimeLimit(limits.timeout_s)
        self._waiting: deque[tuple[Asked, Prediction]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._paused_until = 0.0

    def offer(self, fresh: Fresh, challenge: Challenge) -> None:
        """Take those predictions that the challenge wants shadowed, as far as there is room; returns at once."""
        wanted = [pair for pair in fresh if challenge.shadows(pair[1].student_id)]
        if not wanted:
            return
        usable = self._ready() is not None and monotonic() >= self._paused_until
        room = self._limits.max_waiting - len(self._waiting) if usable else 0
        self._waiting.extend(wanted[:room])
        if len(wanted) > room:
            self._metrics.shadowed(len(wanted) - room, outcome="dropped")
        if self._waiting and self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < self._limits.batch_size:
                    await asyncio.sleep(self._limits.gather_s)
                await self._run(self._take())
        finally:
            # In the same step as the look at the queue: what is offered after it starts another worker.
            self._worker = None

    def _take(self) -> list[tuple[Asked, Prediction]]:
        """A batch of one period, at all moments of which the answer is the same; each student once."""
        taken: dict[str, tuple[Asked, Prediction]] = {}
        period = self._waiting[0][0].period
        kept: list[tuple[Asked, Prediction]] = []
        while self._waiting and len(taken) < self._limits.batch_size:
            item = self._waiting.popleft()
            if item[0].period != period or item[1].student_id in taken:
                kept.append(item)
            else:
                taken[item[1].student_id] = item
        self._waiting.extendleft(reversed(kept))
        return list(taken.values())

    async def _run(self, taken: Sequence[tuple[Asked, Prediction]]) -> None:
        challenge = self._ready()
        if challenge is None:
            self._metrics.shadowed(len(taken), outcome="dropped")
            return
        waiting = Waiting("ray serve")
        try:
            stored = await self._limit.run(self._score(taken, challenge), waiting)
        except Exception as error:  # noqa: BLE001 - nobody waits for the challenger, so nobody may suffer from it
            if monotonic() >= self._paused_until + self._limits.pause_s:
                _log.warning("the challenger failed in the shadow (%s); see edupulse_shadows", type(error).__name__)
            self._paused_until = monotonic() + self._limits.pause_s
            self._metrics.shadowed(len(taken), outcome="failed")
            self._metrics.shadowed(len(self._waiting), outcome="dropped")
            self._waiting.clear()
            return
        self._metrics.shadowed(stored, outcome="scored")
        if stored < len(taken):
            self._metrics.shadowed(len(taken) - stored, outcome="failed")

    async def _score(self, taken: Sequence[tuple[Asked, Prediction]], challenge: Challenge) -> int:
        beside: Mapping[str, Prediction] = {answered.student_id: answered for _, answered in taken}
        request = FetchRequest(tuple(answered.student_id for _, answered in taken), taken[0][0].as_of)
        scored = await self._pipeline.score(request, with_reasons=[False] * len(taken))
        if scored.model_version != challenge.version:
            return 0
        said = batch_answers(request, scored, new_id=self._new_id, created_at=self._clock.now(), role="challenger")
        shadows = [
            ShadowPrediction(beside[answer.student_id], answer) for answer in said if isinstance(answer, Prediction)
        ]
        await self._store.save_shadows(shadows, challenge_id=challenge.challenge_id)
        return len(shadows)
