"""The version beside the champion as a gateway uses it: the arm it answers, the shadow, and what happens when it fails."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol, Self

from deployments.challenge_watch import ChallengeWatch, WatchMetrics
from deployments.lane import Fresh, Lane, LaneParts, RiskPipeline, nothing_to_do
from deployments.messages import FetchRequest, ScoredStudents, ServedModel
from deployments.settings import AppArgs
from deployments.shadow import ShadowLimits, ShadowMetrics, ShadowQueue
from deployments.time_limit import NoAnswerInTimeError, TimeLimit, Waiting
from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.errors import DependencyDownError, TooManyRequestsError
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.ports import ChallengeStore

PAUSE_S: Final = 5.0
"""How long the champion answers everybody after the challenger failed, so that a hanging one delays few answers."""


class ChallengerMetrics(WatchMetrics, ShadowMetrics, Protocol):
    """Counts answers by the arm that gave them, and answers of the challenger's arm that the champion gave, by reason:
    `not_ready`, `paused`, `late`, `busy` or `failed`.
    """

    def by_arm(self, answers: int, *, arm: str) -> None: ...

    def fallback(self, answers: int, *, reason: str) -> None: ...


class ChallengerRestsError(DependencyDownError):
    """The challenger failed a moment ago, so it is not asked."""


class PausingPipeline:
    """A `RiskPipeline` that gives up early, rests after a failure, and lets no other version than the challenge's answer:
    replicas follow the alias one after the other.

    Args:
        pipeline: Feature fetcher and challenger.
        version: The version of the challenge; None without one.
        timeout_s: Longest wait for the scores of a batch, in seconds.
        pause_s: How long it rests, in seconds.
        seconds: A clock that never goes back.
    """

    def __init__(
        self,
        pipeline: RiskPipeline,
        *,
        version: Callable[[], ModelVersion | None],
        timeout_s: float,
        pause_s: float = PAUSE_S,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._version = version
        self._limit = TimeLimit(timeout_s)
        self._pause_s = pause_s
        self._seconds = seconds
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        return self._seconds() < self._rests_until

    async def score(self, request: FetchRequest, *, with_reasons: Sequence[bool]) -> ScoredStudents:
        """Scores within the time, of the challenge's version.

        Raises:
            ChallengerRestsError: it rests; what waited in the queue since before it failed is not tried one by one.
            NoAnswerInTimeError: it did not answer in time; from now on it rests, as after whatever the hops raise.
        """
        if self.rests:
            raise ChallengerRestsError(
                "The challenger has failed a moment ago: the champion answers.", dependency="ray serve"
            )
        try:
            return await self._limit.run(self._scored(request, with_reasons), Waiting("ray serve"))
        except Exception:
            self._rests_until = self._seconds() + self._pause_s
            raise

    async def served(self) -> ServedModel:
        """What the challenger serves."""
        return await self._pipeline.served()

    async def _scored(self, request: FetchRequest, with_reasons: Sequence[bool]) -> ScoredStudents:
        scored = await self._pipeline.score(request, with_reasons=with_reasons)
        if scored.model_version != self._version():
            raise _not_served()
        return scored


class ChallengerInUse:
    """`deployments.scoring.Challenger` over a watch, a lane of its own and a queue in the shadow.

    Args:
        watch: Knows the challenge and whether it is served.
        pipeline: Feature fetcher and challenger.
        shadow: The queue of what is scored unheard.
        parts: What lanes share.
        metrics: Counters.
    """

    def __init__(
        self,
        *,
        watch: ChallengeWatch,
        pipeline: PausingPipeline,
        shadow: ShadowQueue,
        parts: LaneParts,
        metrics: ChallengerMetrics,
    ) -> None:
        self._watch = watch
        self._pipeline = pipeline
        self._shadow = shadow
        self._metrics = metrics
        self._lane = Lane(
            parts,
            pipeline=pipeline,
            version=self._version,
            role="challenger",
            split_by=lambda: self.split_by,
            on_fresh=nothing_to_do,
        )

    @property
    def split_by(self) -> str | None:
        """Id of the challenge that splits the students, also while its challenger cannot answer; None without one."""
        challenge = self._watch.challenge
        return challenge.challenge_id if challenge is not None and challenge.split > 0 else None

    def lane_of(self, student_id: StudentId) -> Lane | None:
        """The challenger's lane for a student of its arm, if it can answer."""
        challenge = self._watch.challenge
        if challenge is None or not challenge.answers(student_id):
            return None
        if self._watch.ready is None:
            self._metrics.fallback(1, reason="not_ready")
            return None
        if self._pipeline.rests:
            self._metrics.fallback(1, reason="paused")
            return None
        return self._lane

    def failed(self, error: Exception, *, students: int) -> None:
        """Count the students whom the champion answers instead."""
        reason = "failed"
        if isinstance(error, ChallengerRestsError):
            reason = "paused"
        elif isinstance(error, NoAnswerInTimeError):
            reason = "late"
        elif isinstance(error, TooManyRequestsError):
            reason = "busy"
        self._metrics.fallback(students, reason=reason)

    def on_fresh(self, fresh: Fresh) -> None:
        """Hand the champion's predictions to the shadow, if it is on."""
        challenge = self._watch.challenge
        if challenge is not None and challenge.shadow > 0 and fresh:
            self._shadow.offer(fresh, challenge)

    def answered(self, answers: int, *, role: str) -> None:
        """Count answers of one arm."""
        self._metrics.by_arm(answers, arm=role)

    async def _version(self) -> ModelVersion:
        ready: Challenge | None = self._watch.ready
        if ready is None:
            raise _not_served()
        return ready.version


def _not_served() -> DependencyDownError:
    msg = "The challenger does not serve the version that challenges: the champion answers."
    return DependencyDownError(msg, dependency="ray serve")


@dataclass(frozen=True)
class ChallengerLimits:
    """`timeout_s`: longest wait of the challenger's arm, in seconds; `shadow_waiting`: students that may wait unheard."""

    timeout_s: float
    shadow_waiting: int

    @classmethod
    def of(cls, args: AppArgs) -> Self:
        """Those of the application."""
        return cls(args.challenger_timeout_s, args.shadow_waiting)


def challenger_in_use(
    watch: ChallengeWatch,
    pipeline: RiskPipeline,
    *,
    store: ChallengeStore,
    parts: LaneParts,
    metrics: ChallengerMetrics,
    limits: ChallengerLimits,
) -> ChallengerInUse:
    """The challenger behind `pipeline`, in an arm and in the shadow."""
    shadow = ShadowQueue(
        pipeline=pipeline,
        store=store,
        ready=lambda: watch.ready,
        clock=parts.clock,
        new_id=parts.new_id,
        metrics=metrics,
        limits=ShadowLimits(max_waiting=limits.shadow_waiting),
    )
    return ChallengerInUse(
        watch=watch,
        pipeline=PausingPipeline(pipeline, version=lambda: _version_of(watch.challenge), timeout_s=limits.timeout_s),
        shadow=shadow,
        parts=parts,
        metrics=metrics,
    )


def _version_of(challenge: Challenge | None) -> ModelVersion | None:
    return None if challenge is None else challenge.version


def keep_watching(watch: ChallengeWatch) -> asyncio.Task[None]:
    """Let `watch` look at both in the background; the caller keeps the task, and cancels it in the end."""
    return asyncio.create_task(watch.run(), name="challenge-watch")
