"""Reads what a challenge has stored, and the outcomes known by now, as rows for the report."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError, NotFoundError
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
from edupulse_ml.storage.challenges import ChallengeSetting, FirstAnswer, PostgresChallengeStore, ShadowPair
from jobs.known_outcomes import known_outcomes
from jobs.wiring import JobContext

Int32 = NDArray[np.int32]


async def compare_challenge(context: JobContext, *, challenge_id: str | None) -> ChallengeReport:
    """The report on one challenge (None: the one set last), with the outcomes known now.

    Raises:
        NotFoundError: there has been no such challenge, or there is no champion.
        InvalidInputError: champion and challenger predict over different horizons.
    """
    store = PostgresChallengeStore(context.database)
    settings = await _settings(store, challenge_id)
    first, last = settings[0], settings[-1]
    challenge = first.challenge
    champion, task = await asyncio.to_thread(_models, context, challenge.version)
    now = context.clock.now()
    pairs = await store.shadow_pairs(challenge.challenge_id)
    answers = await store.first_answers(challenge.challenge_id, since=first.set_at)
    known = await _outcomes(context, as_of=now)
    return ChallengeReport(
        challenge_id=challenge.challenge_id,
        challenger=challenge.version,
        champion=champion,
        begun_at=first.set_at.isoformat(),
        created_at=now.isoformat(),
        horizon_days=task.end_day,
        is_over=last.is_over,
        shadow_weight=last.challenge.shadow,
        split_weight=last.challenge.split,
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


def _models(context: JobContext, challenger: ModelVersion) -> tuple[ModelVersion, Task]:
    """The champion's version, and the question that both answer."""
    files = context.registry.fetch()
    tasks = [load_strategy(found.path).task for found in (files, context.registry.fetch(challenger))]
    if tasks[0] != tasks[1]:
        msg = (
            f"The champion predicts over {tasks[0].end_day} days, version {challenger} over {tasks[1].end_day}: their "
            "scores answer different questions."
        )
        raise InvalidInputError(msg)
    return files.version, tasks[0]


async def _outcomes(context: JobContext, *, as_of: datetime) -> KnownOutcomes:
    keys = sorted(await context.reader.all_student_keys())
    return KnownOutcomes(keys, await known_outcomes(context, keys, as_of=as_of))
