"""A challenger beside the champion of `LocalServing`, in the same process."""

import asyncio
import dataclasses
from dataclasses import dataclass, field

from deployments.challenge_watch import ChallengeWatch, WatchTimes
from deployments.challenging import ChallengerInUse, PausingPipeline
from deployments.lane import LaneParts
from deployments.model_slot import ModelSlot
from deployments.scoring import ScoringOptions
from deployments.shadow import ShadowLimits, ShadowQueue
from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.ids import ModelVersion
from tests.fakes.serving import CONTRACT, FakeModels, LocalPipeline, LocalServing

AT_ONCE = ShadowLimits(gather_s=0.0)
CHALLENGE = Challenge("11111111-0000-4000-8000-000000000000", ModelVersion("2"), shadow=0.0, split=0.0)


def challenge(*, shadow: float = 0.0, split: float = 0.0) -> Challenge:
    """Version 2 challenges, with these shares."""
    return dataclasses.replace(CHALLENGE, shadow=shadow, split=split)


@dataclass
class CountedChallenge:
    """`ChallengerMetrics` in dictionaries."""

    arms: dict[str, int] = field(default_factory=dict)
    fallbacks: dict[str, int] = field(default_factory=dict)
    shadows: dict[str, int] = field(default_factory=dict)
    weights: tuple[float, float, bool] = (0.0, 0.0, False)
    unreadable: bool = False

    def by_arm(self, answers: int, *, arm: str) -> None:
        self.arms[arm] = self.arms.get(arm, 0) + answers

    def fallback(self, answers: int, *, reason: str) -> None:
        self.fallbacks[reason] = self.fallbacks.get(reason, 0) + answers

    def shadowed(self, students: int, *, outcome: str) -> None:
        if students:
            self.shadows[outcome] = self.shadows.get(outcome, 0) + students

    def challenge(self, *, shadow: float, split: float, serving: bool) -> None:
        self.weights = (shadow, split, serving)

    def setting_unreadable(self, *, unreadable: bool) -> None:
        self.unreadable = unreadable


class ChallengedServing(LocalServing):
    """Version 1 answers, version 2 challenges. `before_scores` is awaited by each call of the challenger's model."""

    def __init__(
        self,
        setting: Challenge | None,
        *,
        timeout_s: float = 0.2,
        limits: ShadowLimits = AT_ONCE,
        options: ScoringOptions | None = None,
    ) -> None:
        super().__init__(options=options)
        self.counted = CountedChallenge()
        self.district.challenges.challenge = setting
        slot = ModelSlot(FakeModels(), contract=CONTRACT, clock=self.district.clock, metrics=self.metrics)
        asyncio.run(slot.aim("2"))
        self.beside = LocalPipeline(self.fetcher, slot)
        self.seconds = 0.0
        self.watch = ChallengeWatch(
            setting=self.district.challenges.current,
            served=self.beside.served,
            champion=self.pipeline.served,
            metrics=self.counted,
            times=WatchTimes(setting_timeout_s=0.1, start_timeout_s=0.1, served_timeout_s=0.1),
        )
        self.pausing = PausingPipeline(
            self.beside, version=lambda: CHALLENGE.version, timeout_s=timeout_s, seconds=lambda: self.seconds
        )
        self._limits = limits
        self.scoring.challenge(self._made)

    def _made(self, parts: LaneParts) -> ChallengerInUse:
        self.shadow = ShadowQueue(
            pipeline=self.beside,
            store=self.district.challenges,
            ready=lambda: self.watch.ready,
            clock=parts.clock,
            new_id=parts.new_id,
            metrics=self.counted,
            limits=self._limits,
        )
        return ChallengerInUse(
            watch=self.watch, pipeline=self.pausing, shadow=self.shadow, parts=parts, metrics=self.counted
        )

    async def look(self) -> None:
        """What the gateway does in the background, once."""
        await self.watch.read_setting()
        await self.watch.ask_challenger()

    def shadows(self) -> dict[str, str]:
        """Versions that were stored in the shadow, by student."""
        stored = self.district.challenges.shadows.values()
        return {pair.said.student_id: pair.said.model_version for pair in stored}
