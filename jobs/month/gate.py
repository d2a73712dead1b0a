"""The gate of a month: the candidate becomes the champion or is refused, once per run, however often the run is killed."""

import asyncio

from pydantic import TypeAdapter

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from edupulse_ml.storage.promotions import Promotion, PromotionRepository
from jobs.month.request import COMMAND
from jobs.month.results import Gated, Trained
from jobs.month.running import Month
from jobs.month.work import MonthWork
from jobs.policies import promotion_policy
from jobs.progress import progress_bars
from jobs.promotion.deciding import (
    Judge,
    PromotionPlaces,
    PromotionRequest,
    install_first,
    judging_anew,
    promote_if_better,
)
from jobs.promotion.noting import finish_decision
from jobs.promotion.showing import show_verdict

_DECISIONS_LOOKED_AT = 100
_VERDICT = TypeAdapter(Verdict)


async def pass_gate(work: MonthWork, month: Month) -> Gated:
    """Judge the candidate by the promotion policy. A refusal is a result, not an error.

    Raises:
        ConflictError: another promotion is under way, or the champion changed while the candidate was judged.
        InvalidInputError: the policy's file does not fit.
    """
    policy = promotion_policy(work.context.settings, option=work.request.policy)
    candidate = ModelVersion(month.of(Trained).version)
    with progress_bars(work.console) as bars:
        doing = bars.add_task("judging beside the champion", total=None)
        judge = judging_anew(work.context, policy, step=lambda name: bars.update(doing, description=name))
        gated = await decide(PromotionPlaces.of(work.context), candidate, policy=policy, judge=judge)
        bars.update(doing, total=1, completed=1)
    if gated.verdict is not None:
        show_verdict(gated.verdict, work.console)
    return gated


async def decide(places: PromotionPlaces, candidate: ModelVersion, *, policy: PromotionPolicy, judge: Judge) -> Gated:
    """Decide on the candidate, or find what was decided on it before.

    Raises:
        ConflictError: as `promote_if_better`.
    """
    found = await _decided_before(places, candidate)
    if found is not None:
        return found
    if await install_first(places, candidate, by=COMMAND):
        return Gated("first", candidate, None, candidate, None)
    outcome = await promote_if_better(places, PromotionRequest(policy, COMMAND, candidate), judge=judge)
    before = outcome.champion_before
    if outcome.promoted:
        return Gated("promoted", candidate, before, candidate, outcome.verdict)
    return Gated("refused", candidate, before, before, outcome.verdict)


async def _decided_before(places: PromotionPlaces, candidate: ModelVersion) -> Gated | None:
    """The decision on the candidate that still holds. One that was written down before its process was killed, with the
    champion unmoved, does not: whoever goes on judges again.
    """
    promotions = PromotionRepository(places.database, clock=places.clock)
    champion = await asyncio.to_thread(places.registry.champion)
    for decision in await promotions.latest(limit=_DECISIONS_LOOKED_AT):
        if decision.to_version != candidate or decision.kind == "rollback":
            continue
        if decision.kind == "refusal" or decision.moved_at is not None:
            return _found(decision, champion)
        if champion == candidate:
            await finish_decision(places.registry, promotions, decision)
            return _found(decision, champion)
    return None


def _found(decision: Promotion, champion: ModelVersion | None) -> Gated:
    verdict = _VERDICT.validate_python(decision.figures) if decision.figures else None
    promoted = "first" if decision.from_version is None and verdict is None else "promoted"
    return Gated(
        kind="refused" if decision.kind == "refusal" else promoted,
        candidate=decision.to_version,
        champion_before=decision.from_version,
        champion=champion,
        verdict=verdict,
    )
