"""Decides on a candidate and moves the champion: one at a time, written down before anything moves."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import structlog

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError, InvalidInputError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict, judge_candidate
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from edupulse_ml.registry.models import CHAMPION, PREVIOUS, ModelRegistry
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.promotions import Decision, PromotionKind, PromotionRepository
from jobs.experiment import History
from jobs.history import load_history
from jobs.promotion.contenders import Contender, load_contender
from jobs.promotion.evidence import Step, gather_evidence
from jobs.promotion.noting import finish_last_decision, note_decision
from jobs.promotion.way_back import way_back
from jobs.wiring import JobContext

Judge = Callable[[ModelVersion, ModelVersion | None], Awaitable[Verdict]]
"""(candidate, champion) -> verdict."""

_log = structlog.get_logger(__name__)


class PromotionRefusedError(ConflictError):
    """The candidate does not meet the policy; the champion stays."""

    exit_code = 3
    title = "Promotion refused"


@dataclass(frozen=True)
class PromotionPlaces:
    """Where decisions are kept and what they move."""

    clock: Clock
    database: Database
    registry: ModelRegistry

    @classmethod
    def of(cls, context: JobContext) -> Self:
        """Those of a job."""
        return cls(context.clock, context.database, context.registry)


@dataclass(frozen=True)
class Override:
    """Promote against the policy: who answers for it, and why. Both are kept and shown."""

    name: str
    reason: str


@dataclass(frozen=True)
class PromotionRequest:
    """`version` None: the newest one. `by` is who asks; `override` None: the policy decides alone."""

    policy: PromotionPolicy
    by: str
    version: ModelVersion | None = None
    override: Override | None = None


@dataclass(frozen=True)
class PromotionOutcome:
    """What was decided. `champion_before` None: there was none."""

    kind: PromotionKind
    candidate: ModelVersion
    champion_before: ModelVersion | None
    verdict: Verdict

    @property
    def promoted(self) -> bool:
        """Whether the candidate is the champion now."""
        return self.kind != "refusal"


async def promote_if_better(places: PromotionPlaces, request: PromotionRequest, *, judge: Judge) -> PromotionOutcome:
    """Judge the version and, if it passes or is overridden, make it the champion. A refusal is an outcome, not an error.

    `judge` is asked while nobody else may promote; see `judging_anew`.

    Raises:
        ConflictError: another promotion is under way, the version is the champion already, or the champion changed while
            it was judged.
        NotFoundError: no such version, or none registered.
        InvalidInputError: an override without a name or a reason.
    """
    _require_answerable(request.override)
    promotions = PromotionRepository(places.database, clock=places.clock)
    async with promotions.exclusive():
        registry = places.registry
        await finish_last_decision(registry, promotions)
        champion = await asyncio.to_thread(registry.champion)
        candidate = await asyncio.to_thread(_candidate, registry, request.version, champion)
        verdict = await judge(candidate, champion)
        if await asyncio.to_thread(registry.champion) != champion:
            raise ConflictError(
                f"The champion changed while version {candidate} was judged against version {champion}: judge it again."
            )
        kind: PromotionKind = "promotion" if verdict.passed else "refusal" if request.override is None else "override"
        decided = await promotions.decide(_decision(kind, request, verdict, candidate, champion))
        if kind != "refusal":
            await asyncio.to_thread(registry.set_champion, candidate)
            await promotions.moved(decided.promotion_id)
        await note_decision(registry, decided)
    _log.info("promotion", kind=kind, candidate=candidate, champion=champion, failed=len(verdict.failed))
    return PromotionOutcome(kind, candidate, champion, verdict)


async def install_first(places: PromotionPlaces, version: ModelVersion, *, by: str) -> bool:
    """Make `version` the champion if the district has none: there is nothing to protect yet, and a district without a model
    is served nothing. Whether it did; kept like any other promotion, without a policy.

    Raises:
        ConflictError: a promotion is under way.
    """
    promotions = PromotionRepository(places.database, clock=places.clock)
    async with promotions.exclusive():
        await finish_last_decision(places.registry, promotions)
        if await asyncio.to_thread(places.registry.champion) is not None:
            return False
        decided = await promotions.decide(Decision("promotion", by, None, version))
        await asyncio.to_thread(places.registry.set_champion, version)
        await promotions.moved(decided.promotion_id)
        await note_decision(places.registry, decided)
    _log.info("promotion", kind="promotion", candidate=version, champion=None, failed=0)
    return True


async def roll_back(
    places: PromotionPlaces, *, by: str, reason: str, require_servable: Callable[[ModelVersion], None]
) -> tuple[ModelVersion, ModelVersion]:
    """Make the previous champion the champion again; (withdrawn version, champion now). What stood before that one becomes
    `previous`, so that rolling back twice goes two steps back. A version that was withdrawn and not promoted since is
    passed over. Where the alias `previous` names none, as after a kill between two moves, the promotions kept say it.
    `require_servable` raises for a version that serving would refuse: it would leave the withdrawn one live.

    Raises:
        ConflictError: a promotion is under way.
        NotFoundError: there is no champion, or none before it, or that one's files are not complete.
        ContractMismatchError: that one was fitted for another contract than is served.
        InvalidInputError: no name or no reason is given.
    """
    _require_answerable(Override(by, reason))
    promotions = PromotionRepository(places.database, clock=places.clock)
    async with promotions.exclusive():
        registry = places.registry
        await finish_last_decision(registry, promotions)
        withdrawn = await asyncio.to_thread(registry.champion)
        previous = await asyncio.to_thread(registry.alias, PREVIOUS)
        target = None if withdrawn is None else await _before(withdrawn, promotions, registry, previous=previous)
        if withdrawn is None or target is None:
            raise NotFoundError(
                "There is no champion before the present one to return to: promote a version with `edupulse promote`."
            )
        await asyncio.to_thread(require_servable, target)
        decided = await promotions.decide(Decision("rollback", by, withdrawn, target, reason))
        await asyncio.to_thread(registry.set_alias, CHAMPION, target)
        await promotions.moved(decided.promotion_id)
        await asyncio.to_thread(registry.set_alias, PREVIOUS, await _before(target, promotions, registry))
        await note_decision(registry, decided)
    _log.info("rollback", withdrawn=withdrawn, champion=target)
    return withdrawn, target


async def _before(
    champion: ModelVersion, promotions: PromotionRepository, registry: ModelRegistry, *, previous: str | None = None
) -> ModelVersion | None:
    """The version to return to from `champion`, as `way_back` says; versions that are no longer registered are passed over."""
    registered = set(await asyncio.to_thread(registry.versions))
    back = way_back(await promotions.moves(), champion=champion, previous=previous)
    return next((ModelVersion(version) for version in back if version in registered), None)


def judging_anew(context: JobContext, policy: PromotionPolicy, *, step: Step) -> Judge:
    """Measures candidate and champion on the same rows of the records as they are now, and judges by `policy`. `step` is
    told the name of each piece of work. A champion that cannot be loaded fails the rule on the champion, so that only an
    override replaces it.

    The judge raises `ContractMismatchError` for a candidate that was fitted for another contract than is served.
    """

    async def judge(candidate: ModelVersion, champion: ModelVersion | None) -> Verdict:
        step("reading student-weeks")
        history = await load_history(context, as_of=context.clock.now(), on_share=lambda _: None)
        return await asyncio.to_thread(measured, history, candidate, champion)

    def measured(history: History, candidate: ModelVersion, champion: ModelVersion | None) -> Verdict:
        mine = load_contender(context.registry.fetch(candidate))
        context.contract.require_match(mine.model.contract)  # serving would refuse it (decision 0013)
        theirs, problem = _champion(context.registry, champion)
        evidence = gather_evidence(history, mine, theirs, policy=policy, step=step)
        if problem is not None:
            evidence = replace(evidence, champion=champion, champion_problem=problem)
        return judge_candidate(evidence, policy)

    return judge


def refusal(verdict: Verdict) -> PromotionRefusedError:
    """The error of a refusal: every rule that is not met, with its figure."""
    lines = "\n".join(f"- {rule.sentence} Limit: {rule.limit}." for rule in verdict.failed)
    return PromotionRefusedError(
        f"Version {verdict.candidate} does not meet policy {verdict.policy_version}, the champion stays. Not met:\n{lines}\n"
        "Train a better one, or answer for it: --override --name NAME --reason WHY."
    )


def not_registered(version: ModelVersion, versions: Sequence[ModelVersion]) -> NotFoundError:
    """The error of a version that is none of the district's `versions`, which are given newest first."""
    return NotFoundError(f"Version {version} is not registered: the versions are {', '.join(reversed(versions))}.")


def _require_answerable(override: Override | None) -> None:
    if override is not None and not (override.name.strip() and override.reason.strip()):
        raise InvalidInputError("An override and a rollback need a name and a reason: --name NAME --reason WHY.")


def _champion(registry: ModelRegistry, version: ModelVersion | None) -> tuple[Contender | None, str | None]:
    """The champion to compare with, if there is one; else why it cannot be loaded."""
    if version is None:
        return None, None
    try:
        return load_contender(registry.fetch(version)), None
    except NotFoundError as error:
        return None, str(error)


def _candidate(registry: ModelRegistry, wanted: ModelVersion | None, champion: ModelVersion | None) -> ModelVersion:
    versions = registry.versions()
    if not versions:
        raise NotFoundError("No model is registered yet: run `edupulse train --no-promote` first.")
    candidate = wanted or versions[0]
    if candidate not in versions:
        raise not_registered(candidate, versions)
    if candidate == champion:
        raise ConflictError(f"Version {candidate} is the champion already: name another one, or train one.")
    return candidate


def _decision(
    kind: PromotionKind,
    request: PromotionRequest,
    verdict: Verdict,
    candidate: ModelVersion,
    champion: ModelVersion | None,
) -> Decision:
    override = request.override if kind == "override" else None
    return Decision(
        kind=kind,
        decided_by=request.by if override is None else override.name,
        from_version=champion,
        to_version=candidate,
        reason=None if override is None else override.reason,
        policy_version=verdict.policy_version,
        figures=json.loads(verdict.to_json()),
    )
