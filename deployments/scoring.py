"""Scoring as the HTTP layer sees it: cache, one chained call for what is missing, store and audit, answers.

Knows neither Ray nor a web framework: the hops, the store, the cache and the clock are passed in.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from time import perf_counter
from typing import Protocol
from zoneinfo import ZoneInfo

from deployments.answers import encode_prediction
from deployments.asked import Asked, answer_slot, as_asked, distinct_questions, usable_answer
from deployments.batch_answers import batch_answers
from deployments.coalescer import BatchLimits, Coalescer
from deployments.messages import (
    Answer,
    FetchRequest,
    Question,
    ScoredStudents,
    ServedModel,
    UnknownStudent,
)
from deployments.model_watch import ModelWatch
from deployments.moments import resolve_as_of
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.ids import PredictionId, StudentId
from edupulse_ml.core.ports import AnswerCache, CacheRead, CacheWrite, PredictionStore
from edupulse_ml.core.predictions import Prediction

AUDIT_ACTION = "predict"
HISTORY_ACTION = "history"
_QUEUE_PATIENCE_S = 0.5
_POSTGRESQL, _REDIS, _RAY_SERVE = "postgresql", "redis", "ray serve"


class RiskPipeline(Protocol):
    """The two hops behind the gateway, as one call. Failures come as errors of `core.errors`."""

    async def score(self, request: FetchRequest, *, with_reasons: Sequence[bool]) -> ScoredStudents: ...

    async def served(self) -> ServedModel: ...


class ScoringMetrics(Protocol):
    """Counts and durations of the scoring service; labels never hold student data."""

    def answered(self, answers: int, *, status: str, cached: bool) -> None: ...

    def batch_done(self, *, questions: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class ScoringOptions:
    """How requests are joined and answers kept."""

    cache_ttl_s: int = 3600
    batches: BatchLimits = field(default_factory=BatchLimits)
    answer_timeout_s: float = 8.0
    """Longest wait for the servers behind one batch, or for the history or the served version, in seconds."""
    model_version_max_age_s: float = 1.0
    """How long the gateway trusts what it knows of the served version; bounds how long a swap goes unnoticed by the
    cache."""


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
        self._cache = cache
        self._zone = zone
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._options = options
        self._limit = TimeLimit(options.answer_timeout_s)
        # A caller waits a little longer than its batch, whose error names the server that hangs.
        self._patience = TimeLimit(options.answer_timeout_s + _QUEUE_PATIENCE_S)
        self._watch = ModelWatch(pipeline.served, max_age_s=options.model_version_max_age_s)
        self._coalescer: Coalescer[Asked, Answer] = Coalescer(self._answer_batch, options.batches)

    async def predict(self, question: Question) -> Answer:
        """The answer to one question, joined with concurrent ones.

        Raises:
            AsOfError: `as_of` cannot be asked about.
            DependencyDownError: a server that is needed does not answer, or not in time.
            TooManyRequestsError: too many questions wait already.
        """
        waiting = Waiting(_POSTGRESQL)
        return await self._patience.run(self._predict(question, waiting), waiting)

    async def predict_many(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Answers in the order asked; waits its turn and raises as `predict` does."""
        waiting = Waiting(_POSTGRESQL)
        return await self._patience.run(self._predict_many(questions, waiting), waiting)

    async def history(self, student_id: StudentId, *, limit: int, actor: str, request_id: str) -> Sequence[Prediction]:
        """Stored predictions of one student, newest first; that they were read is audited before they leave.

        Raises:
            NotFoundError: the district has no such student.
            DependencyDownError: PostgreSQL does not answer, or not in time.
        """
        work = self._history(student_id, limit=limit, actor=actor, request_id=request_id)
        return await self._limit.run(work, Waiting(_POSTGRESQL))

    async def served(self) -> ServedModel:
        """What the risk model serves; raises `DependencyDownError` where it does not say so in time."""
        return await self._limit.run(self._ask_served(), Waiting(_RAY_SERVE))

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
        waiting.dependency = _RAY_SERVE
        return await self._coalescer.submit_many(asked)

    async def _resolve(self, questions: Sequence[Question]) -> list[Asked]:
        zone = await self._zone()
        now = self._clock.now()
        moments = [resolve_as_of(question.as_of, now=now, zone=zone) for question in questions]
        return [
            Asked(question, moment, moment.astimezone(zone).date())
            for question, moment in zip(questions, moments, strict=True)
        ]

    async def _answer_batch(self, asked: Sequence[Asked]) -> list[Answer]:
        waiting = Waiting(_RAY_SERVE)
        return await self._limit.run(self._answered(asked, waiting), waiting)

    async def _answered(self, asked: Sequence[Asked], waiting: Waiting) -> list[Answer]:
        started = perf_counter()
        distinct = distinct_questions(asked)
        waiting.dependency = _RAY_SERVE
        version = await self._watch.version()
        waiting.dependency = _REDIS
        reads = await self._cache.read([answer_slot(item, version) for item in distinct])
        known: dict[tuple[StudentId, date], Answer] = {
            item.key: hit for item, read in zip(distinct, reads, strict=True) if (hit := usable_answer(item, read))
        }
        cached = set(known)
        missing = [(item, read) for item, read in zip(distinct, reads, strict=True) if item.key not in known]
        waiting.dependency = _RAY_SERVE
        fresh = await self._score([item for item, _ in missing])
        known |= fresh
        waiting.dependency = _POSTGRESQL
        await self._save(asked, known)
        waiting.dependency = _REDIS
        await self._remember([(item, read) for item, read in missing], fresh)
        answers = [as_asked(known[item.key], item.question) for item in asked]
        counts = Counter((answer.status, item.key in cached) for item, answer in zip(asked, answers, strict=True))
        for (status, is_cached), answered in counts.items():
            self._metrics.answered(answered, status=status, cached=is_cached)
        self._metrics.batch_done(questions=len(asked), seconds=perf_counter() - started)
        return answers

    async def _score(self, missing: Sequence[Asked]) -> dict[tuple[StudentId, date], Answer]:
        days = sorted({item.local_day for item in missing})
        groups = [[item for item in missing if item.local_day == day] for day in days]
        parts = await asyncio.gather(*(self._score_day(group) for group in groups))
        return {key: answer for part in parts for key, answer in part.items()}

    async def _score_day(self, group: Sequence[Asked]) -> dict[tuple[StudentId, date], Answer]:
        request = FetchRequest(tuple(item.question.student_id for item in group), group[0].as_of)
        wanted = [item.question.include_reasons for item in group]
        scored = await self._pipeline.score(request, with_reasons=wanted)
        answers = batch_answers(request, scored, new_id=self._new_id, created_at=self._clock.now())
        return {item.key: answer for item, answer in zip(group, answers, strict=True)}

    async def _save(self, asked: Sequence[Asked], known: Mapping[tuple[StudentId, date], Answer]) -> None:
        """Store and audit every answer that is about to leave, cached ones too; the store keeps a prediction once."""
        for actor in dict.fromkeys(item.question.actor for item in asked):
            rows = [
                (answer, item.question.request_id)
                for item in asked
                if item.question.actor == actor and not isinstance(answer := known[item.key], UnknownStudent)
            ]
            if rows:
                await self._store.save(
                    [answer for answer, _ in rows],
                    actor=actor,
                    action=AUDIT_ACTION,
                    request_ids=[request_id for _, request_id in rows],
                )

    async def _remember(
        self, missing: Sequence[tuple[Asked, CacheRead]], fresh: Mapping[tuple[StudentId, date], Answer]
    ) -> None:
        entries: list[CacheWrite] = []
        for item, read in missing:
            answer = fresh[item.key]
            if isinstance(answer, Prediction):
                slot = answer_slot(item, answer.model_version)
                entries.append(CacheWrite(slot, read.generation, encode_prediction(answer)))
        if entries and self._options.cache_ttl_s > 0:
            await self._cache.write(entries, ttl_s=self._options.cache_ttl_s)
