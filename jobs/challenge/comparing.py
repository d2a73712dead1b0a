"""Reads what a challenge has stored, and the outcomes known by now, as rows for the report."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion, StudentKey
from edupulse_ml.core.outcomes import Outcomes, Task, task_labels
from edupulse_ml.evaluation.challenge_report import (
    ArmRows,
    ChallengeReport,
    PairRows,
    arm_report,
    shadow_report,
)
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.models.strategies import load_strategy
from edupulse_ml.registry.models import ModelRegistry
from edupulse_ml.storage.challenges import ChallengeSetting, FirstAnswer, PostgresChallengeStore, ShadowPair
from jobs.known_outcomes import known_outcomes
from jobs.wiring import JobContext

Int32 = NDArray[np.int32]


async def compare_challenge(context: JobContext, *, challenge_id: str | None) -> ChallengeReport:
    """The report on one challenge (None: the one set last), with the outcomes known now.

    Raises:
        NotFoundError: there has been no such challenge, or the challenger is not in the registry any more.
    """
    store = PostgresChallengeStore(context.database)
    settings = await _settings(store, challenge_id)
    first = settings[0]
    challenge, shares = first.challenge, shares_in_force(settings)
    answered = await store.champions_of(challenge.challenge_id, since=first.set_at)
    rivals = await asyncio.to_thread(_rivals, context.registry, challenge.version, answered)
    now = context.clock.now()
    pairs = await store.shadow_pairs(challenge.challenge_id, until=rivals.until)
    answers = await store.first_answers(challenge.challenge_id, since=first.set_at, until=rivals.until)
    known = await _outcomes(context, as_of=now)
    task = rivals.task
    return ChallengeReport(
        challenge_id=challenge.challenge_id,
        challenger=challenge.version,
        champions=rivals.champions,
        begun_at=first.set_at.isoformat(),
        counted_until=None if rivals.until is None else rivals.until.isoformat(),
        created_at=now.isoformat(),
        horizon_days=task.end_day,
        is_over=settings[-1].is_over,
        shadow_weight=shares.shadow,
        split_weight=shares.split,
        shadow=shadow_report(pair_rows(pairs, known, task=task)),
        arms=arm_report(arm_rows(answers, settings, known, task=task)),
    )


class KnownOutcomes:
    """Outcomes of all students of a district.

    Args:
        keys: Every student, ascending.
        outcomes: One entry per key.
    """

    def __init__(self, keys: Sequence[StudentKey], outcomes: Outcomes) -> None:
        self._keys = np.asarray(keys, dtype=np.int64)
        self._outcomes = outcomes

    def labels(self, keys: NDArray[np.int64], cutoff_day: Int32, *, task: Task) -> NDArray[np.int8]:
        """[B] as `core.outcomes.task_labels`."""
        positions = np.searchsorted(self._keys, keys).astype(np.int32)
        return task_labels(self._outcomes.select(positions), cutoff_day=cutoff_day, task=task)


def pair_rows(pairs: Sequence[ShadowPair], known: KnownOutcomes, *, task: Task) -> PairRows:
    """One row per student, in the order of the cutoffs, which is that in which outcomes become known."""
    ordered = sorted(pairs, key=lambda pair: (pair.feature_week, pair.student_key))
    return PairRows(
        champion=np.array([pair.answered[0] for pair in ordered], dtype=np.float64),
        challenger=np.array([pair.said[0] for pair in ordered], dtype=np.float64),
        same_category=np.array([pair.same_category for pair in ordered], dtype=np.bool_),
        label=_labels(known, [(pair.student_key, pair.feature_week) for pair in ordered], task=task),
    )


def arm_rows(
    answers: Sequence[FirstAnswer], settings: Sequence[ChallengeSetting], known: KnownOutcomes, *, task: Task
) -> ArmRows:
    """One row per student. The arm is the one that the student was drawn into when first answered, whichever model
    answered then: a challenger that failed must not choose whom it is judged by.
    """
    ordered = sorted(answers, key=lambda answer: (answer.feature_week, answer.student_key))
    set_at = [setting.set_at for setting in settings]
    then = [settings[max(0, bisect_right(set_at, answer.answered_at) - 1)].challenge for answer in ordered]
    pairs = list(zip(then, ordered, strict=True))
    theirs = np.array([challenge.answers(answer.student_id) for challenge, answer in pairs], dtype=np.bool_)
    total = np.array([answer.answers for answer in ordered], dtype=np.int64)
    by_challenger = np.array([answer.by_challenger for answer in ordered], dtype=np.int64)
    return ArmRows(
        in_challenger=theirs,
        share=np.array([challenge.split for challenge in then], dtype=np.float64),
        score=np.array([answer.scores[0] for answer in ordered], dtype=np.float64),
        label=_labels(known, [(answer.student_key, answer.feature_week) for answer in ordered], task=task),
        answers=total,
        others=np.where(theirs, total - by_challenger, by_challenger),
    )


def _labels(known: KnownOutcomes, rows: Sequence[tuple[StudentKey, int]], *, task: Task) -> NDArray[np.int8]:
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    cutoff = np.array([week + CUTOFF_DAYS_AFTER_MONDAY for _, week in rows], dtype=np.int32)
    return known.labels(keys, cutoff, task=task)


async def _settings(store: PostgresChallengeStore, challenge_id: str | None) -> Sequence[ChallengeSetting]:
    if challenge_id is None:
        latest = await store.latest()
        challenge_id = None if latest is None else latest.challenge.challenge_id
    settings = [] if challenge_id is None else await store.settings_of(challenge_id)
    if not settings:
        raise NotFoundError("There has been no such challenge: begin one with `edupulse challenger set VERSION`.")
    return settings


def shares_in_force(settings: Sequence[ChallengeSetting]) -> Challenge:
    """The challenge with the shares that it has, or had until it was ended; ending sets both to 0."""
    return next((setting for setting in reversed(settings) if not setting.is_over), settings[-1]).challenge


@dataclass(frozen=True)
class _Rivals:
    """The question that the challenger answers, the champions that answered it too, and until when."""

    task: Task
    champions: tuple[ModelVersion, ...]
    until: datetime | None


def _rivals(
    registry: ModelRegistry, challenger: ModelVersion, answered: Sequence[tuple[ModelVersion, datetime]]
) -> _Rivals:
    """Who stood against the challenger. From the first answer of a champion that is no rival on, both arms end: to leave
    out that champion's answers alone would leave more of one arm than was drawn.

    Raises:
        NotFoundError: the challenger is not in the registry any more.
    """
    task = load_strategy(registry.fetch(challenger).path).task
    champions: list[ModelVersion] = []
    for version, first_at in answered:
        if version == challenger or not _answers(registry, version, task):
            return _Rivals(task, tuple(champions), first_at)
        champions.append(version)
    return _Rivals(task, tuple(champions), None)


def _answers(registry: ModelRegistry, version: ModelVersion, task: Task) -> bool:
    """Whether the version answers `task`. One that is gone is taken to: a challenge begins with one question only, and a
    champion with another one takes an override.
    """
    try:
        return load_strategy(registry.fetch(version).path).task == task
    except NotFoundError:
        return True


async def _outcomes(context: JobContext, *, as_of: datetime) -> KnownOutcomes:
    keys = sorted(await context.reader.all_student_keys())
    return KnownOutcomes(keys, await known_outcomes(context, keys, as_of=as_of))
