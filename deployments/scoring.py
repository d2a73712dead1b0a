"""Scoring as the HTTP layer sees it: whose turn a question is, the champion's or a challenger's, and the answers.

Knows neither Ray nor a web framework: the lanes, the store and the clock are passed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from deployments.asked import Asked, Period, period_of
from deployments.lane import (
    POSTGRESQL,
    RAY_SERVE,
    Fresh,
    Lane,
    LaneParts,
    RiskPipeline,
    ScoringMetrics,
    ScoringOptions,
)
from deployments.messages import Answer, Question, ServedModel
from deployments.model_watch import ModelWatch
from deployments.moments import resolve_as_of
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.ids import PredictionId, StudentId
from edupulse_ml.core.ports import AnswerCache, PredictionStore
from edupulse_ml.core.predictions import Prediction

__all__ = ["RiskPipeline", "ScoringMetrics", "ScoringOptions", "ScoringService"]

HISTORY_ACTION = "history"
_QUEUE_PATIENCE_S = 0.5


class Challenger(Protocol):
    """The version beside the champion; never raises, and costs nothing while there is no challenge."""

    @property
    def split_by(self) -> str | None:
        """Id of the challenge that splits the students, None without one."""
        ...

    def lane_of(self, student_id: StudentId) -> Lane | None:
        """The lane that answers the student, None for the champion's: no challenge, the other arm, or no challenger that
        could answer.
        """
        ...

    def failed(self, error: Exception, *, students: int) -> None:
        """Told that the champion must answer these students instead."""
        ...

    def on_fresh(self, fresh: Fresh) -> None:
        """Told what the champion is about to answer; returns at once."""
        ...

    def answered(self, answers: int, *, role: str) -> None: ...


class ScoringService:
    """Answers questions about students.

    Args:
        pipeline: Feature fetcher and risk model.
        store: Keeps predictions and the audit trail.
        cache: Answers of the last hour.
        zone: Returns the zone in which the district's days begin.
        clock: Current moment.
        new_id: Makes prediction ids.
        metrics: Counters.
        options: Batching and caching.
    """

    def __init__(
        self,
        *,
        pipeline: RiskPipeline,
        store: PredictionStore,
        cache: AnswerCache,
        zone: Callable[[], Awaitable[ZoneInfo]],
        clock: Clock,
        new_id: Callable[[], PredictionId],
        metrics: ScoringMetrics,
        options: ScoringOptions,
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._zone = zone
        self._clock = clock
        self._limit = TimeLimit(options.answer_timeout_s)
        # A caller waits a little longer than its batch, whose error names the server that hangs.
        self._patience = TimeLimit(options.answer_timeout_s + _QUEUE_PATIENCE_S)
        self._parts = LaneParts(store, cache, clock, new_id, metrics, options)
        self._challenger: Challenger | None = None
        self._champion = Lane(
            self._parts,
            pipeline=pipeline,
            version=ModelWatch(pipeline.served, max_age_s=options.model_version_max_age_s).version,
            role="champion",
            split_by=self._split_by,
            on_fresh=self._on_fresh,
        )

    def challenge(self, make: Callable[[LaneParts], Challenger]) -> None:
        """Put a version beside the champion, made of what the lanes share."""
        self._challenger = make(self._parts)

    async def predict(self, question: Question) -> Answer:
        """The answer to one question, joined with concurrent ones.

        Raises:
            AsOfError: `as_of` cannot be asked about.
            DependencyDownError: a server that is needed does not answer, or not in time.
            TooManyRequestsError: too many questions wait already.
        """
        waiting = Waiting(POSTGRESQL)
        return await self._patience.run(self._predict(question, waiting), waiting)

    async def predict_many(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Answers in the order asked; waits its turn and raises as `predict` does."""
        waiting = Waiting(POSTGRESQL)
        return await self._patience.run(self._predict_many(questions, waiting), waiting)

    async def history(self, student_id: StudentId, *, limit: int, actor: str, request_id: str) -> Sequence[Prediction]:
        """Stored predictions of one student, newest first; that they were read is audited before they leave.

        Raises:
            NotFoundError: the district has no such student.
            DependencyDownError: PostgreSQL does not answer, or not in time.
        """
        work = self._history(student_id, limit=limit, actor=actor, request_id=request_id)
        return await self._limit.run(work, Waiting(POSTGRESQL))

    async def served(self) -> ServedModel:
        """What the risk model serves; raises `DependencyDownError` where it does not say so in time."""
        return await self._limit.run(self._ask_served(), Waiting(RAY_SERVE))

    async def _history(self, student_id: StudentId, *, limit: int, actor: str, request_id: str) -> Sequence[Prediction]:
        found = await self._store.history(student_id, limit=limit)
        await self._store.audit(
            actor=actor, action=HISTORY_ACTION, outcome="read", request_id=request_id, student_id=student_id
        )
        return found

    async def _ask_served(self) -> ServedModel:
        return await self._pipeline.served()

    async def _predict(self, question: Question, waiting: Waiting) -> Answer:
        (answer,) = await self._predict_many([question], waiting)
        return answer

    async def _predict_many(self, questions: Sequence[Question], waiting: Waiting) -> Sequence[Answer]:
        asked = await self._resolve(questions)
        waiting.dependency = RAY_SERVE
        beside = self._challenger
        if beside is None or beside.split_by is None:
            return await self._champion.submit_many(asked)
        return await self._split(asked, beside)

    async def _split(self, asked: Sequence[Asked], beside: Challenger) -> Sequence[Answer]:
        """Each arm's answers from its own model. The arms wait in queues of their own: a slow challenger delays nobody
        who asks for students of the champion's arm.
        """
        lanes = [beside.lane_of(item.question.student_id) for item in asked]
        mine = [item for item, lane in zip(asked, lanes, strict=True) if lane is None]
        theirs = [item for item, lane in zip(asked, lanes, strict=True) if lane is not None]
        lane = next((lane for lane in lanes if lane is not None), None)
        if lane is None:
            return await self._by_champion(mine, beside)
        ours, others = await asyncio.gather(self._by_champion(mine, beside), self._by_challenger(lane, theirs, beside))
        parts = {False: iter(ours), True: iter(others)}
        return [next(parts[lane is not None]) for lane in lanes]

    async def _by_challenger(self, lane: Lane, asked: Sequence[Asked], beside: Challenger) -> Sequence[Answer]:
        try:
            answers = await lane.submit_many(asked)
        except Exception as error:  # noqa: BLE001 - whatever became of the challenger, the champion answers
            beside.failed(error, students=len(asked))
            return await self._by_champion(asked, beside)
        beside.answered(len(answers), role="challenger")
        return answers

    async def _by_champion(self, asked: Sequence[Asked], beside: Challenger) -> Sequence[Answer]:
        if not asked:
            return ()
        answers = await self._champion.submit_many(asked)
        beside.answered(len(answers), role="champion")
        return answers

    def _split_by(self) -> str | None:
        return self._challenger.split_by if self._challenger is not None else None

    def _on_fresh(self, fresh: Fresh) -> None:
        if self._challenger is not None:
            self._challenger.on_fresh(fresh)

    async def _resolve(self, questions: Sequence[Question]) -> list[Asked]:
        zone = await self._zone()
        now = self._clock.now()
        resolved: dict[datetime | date | None, tuple[datetime, Period]] = {}
        for asked in dict.fromkeys(question.as_of for question in questions):
            moment = resolve_as_of(asked, now=now, zone=zone)
            resolved[asked] = moment, period_of(moment, zone)
        return [Asked(question, *resolved[question.as_of]) for question in questions]
