"""Sets, changes and ends a challenge: one at a time, the alias first and the weights after it."""

import asyncio
import dataclasses
from dataclasses import dataclass
from uuid import uuid4

import structlog

from edupulse_ml.core.challenge import CHALLENGER, Challenge
from edupulse_ml.core.errors import ConflictError, InvalidInputError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.models.strategies import load_strategy
from edupulse_ml.registry.models import ModelRegistry
from edupulse_ml.storage.challenges import ChallengeSetting, PostgresChallengeStore
from edupulse_ml.storage.promotions import PromotionRepository
from jobs.promotion.deciding import PromotionPlaces, not_registered

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Weights:
    """Shares (0-1) of the students; None leaves a share as it is."""

    shadow: float | None = None
    split: float | None = None


async def begin_challenge(places: PromotionPlaces, version: ModelVersion, weights: Weights, *, by: str) -> Challenge:
    """Make `version` the challenger. A challenge that is on ends. Students are drawn anew. A version that is refused
    leaves the challenge that is on as it was.

    The alias moves before the weights are set: gateways ask the challenger nothing until it serves this version.

    Raises:
        ConflictError: the version is the champion, or challenges already; or a promotion, or another setting, is under
            way.
        NotFoundError: no such version, or not a complete model of this release.
        InvalidInputError: a share is not between 0 and 1; or the version answers another question than the champion.
        ContractMismatchError: the version was fitted for other features than the champion.
    """
    challenge = Challenge(str(uuid4()), version, weights.shadow or 0.0, weights.split or 0.0)
    store = PostgresChallengeStore(places.database)
    async with PromotionRepository(places.database, clock=places.clock).exclusive():
        # Loading two models takes seconds, in which the shares of the challenge that is on may still be changed.
        await asyncio.to_thread(_require_rival, places.registry, version)
        async with store.exclusive():
            before = await store.current()
            if before is not None and before.version == version:
                msg = f"Version {version} challenges already: change its shares with `edupulse challenger weights`."
                raise ConflictError(msg)
            if before is not None:
                await _end(store, before, places, by=by)
            await asyncio.to_thread(places.registry.set_alias, CHALLENGER, version)
            await store.set(ChallengeSetting(challenge, is_over=False, set_at=places.clock.now(), set_by=by))
    _log.info("challenge", version=version, shadow=challenge.shadow, split=challenge.split)
    return challenge


async def weigh_challenge(places: PromotionPlaces, weights: Weights, *, by: str) -> Challenge:
    """Change the shares of the challenge that is on, also while a version is judged. A share that grows keeps the students
    it had.

    Raises:
        NotFoundError: there is no challenge.
        SettingUnderWayError: somebody else sets the challenge this moment.
        InvalidInputError: a share is not between 0 and 1.
    """
    store = PostgresChallengeStore(places.database)
    async with store.exclusive():
        current = _required(await store.current())
        challenge = dataclasses.replace(
            current,
            shadow=current.shadow if weights.shadow is None else weights.shadow,
            split=current.split if weights.split is None else weights.split,
        )
        await store.set(ChallengeSetting(challenge, is_over=False, set_at=places.clock.now(), set_by=by))
    _log.info("challenge", version=challenge.version, shadow=challenge.shadow, split=challenge.split)
    return challenge


async def end_challenge(places: PromotionPlaces, *, by: str) -> Challenge:
    """End the challenge that is on, also while a version is judged: the weights first, the alias after them. What it showed
    stays.

    Raises:
        NotFoundError: there is no challenge.
        SettingUnderWayError: somebody else sets the challenge this moment.
    """
    store = PostgresChallengeStore(places.database)
    async with store.exclusive():
        current = _required(await store.current())
        await _end(store, current, places, by=by)
        if await asyncio.to_thread(places.registry.alias, CHALLENGER) is not None:
            await asyncio.to_thread(places.registry.set_alias, CHALLENGER, None)
    _log.info("challenge_over", version=current.version)
    return current


def _require_rival(registry: ModelRegistry, version: ModelVersion) -> None:
    """Return if the version can stand beside the champion; raises as `begin_challenge`."""
    champion, versions = registry.champion(), registry.versions()
    if version not in versions:
        raise not_registered(version, versions)
    if champion == version:
        raise ConflictError(f"Version {version} is the champion: name another one to challenge it.")
    model = load_strategy(registry.fetch(version).path)
    if champion is None:
        return
    served = load_strategy(registry.fetch(champion).path)
    if model.task != served.task:
        msg = (
            f"Version {version} predicts {model.task.name} over {model.task.end_day} days, the champion (version "
            f"{champion}) {served.task.name} over {served.task.end_day}: their scores answer different questions. Train "
            "one with the champion's horizon."
        )
        raise InvalidInputError(msg)
    model.contract.require_match(served.contract)


async def _end(store: PostgresChallengeStore, challenge: Challenge, places: PromotionPlaces, *, by: str) -> None:
    over = dataclasses.replace(challenge, shadow=0.0, split=0.0)
    await store.set(ChallengeSetting(over, is_over=True, set_at=places.clock.now(), set_by=by))


def _required(challenge: Challenge | None) -> Challenge:
    if challenge is None:
        raise NotFoundError("No version challenges the champion: name one with `edupulse challenger set VERSION`.")
    return challenge
