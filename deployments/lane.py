"""From questions to stored answers of one model: cache, one chained call for what is missing, store and audit.

Knows neither Ray nor a web framework: the hops, the store, the cache and the clock are passed in.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from deployments.answers import encode_prediction
from deployments.asked import Asked, Key, answer_slot, as_asked, distinct_questions, usable_answer
from deployments.batch_answers import batch_answers
from deployments.coalescer import BatchLimits, Coalescer
from deployments.messages import Answer, FetchRequest, ScoredStudents, ServedModel, UnknownStudent
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.ids import ModelVersion, PredictionId
from edupulse_ml.core.ports import AnswerCache, CacheRead, CacheWrite, PredictionStore
from edupulse_ml.core.predictions import ModelRole, Prediction

AUDIT_ACTION = "predict"
POSTGRESQL, REDIS, RAY_SERVE = "postgresql", "redis", "ray serve"


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


@dataclass(frozen=True)
class LaneParts:
    """What the lanes of a gateway share."""

    store: PredictionStore
    cache: AnswerCache
    clock: Clock
    new_id: Callable[[], PredictionId]
    metrics: ScoringMetrics
    options: ScoringOptions


Fresh = Sequence[tuple[Asked, Prediction]]
"""Predictions made just now, and what was asked; each student and period once."""


class Lane:
    """Answers the questions that are put to one model, joining concurrent ones.

    Args:
        parts: Store, cache, clock, metrics and options.
        pipeline: Feature fetcher and this lane's model.
        version: The version that the model serves.
        role: In what capacity it answers.
        split_by: Id of the challenge that splits the students at this moment, None without one.
        on_fresh: Told of predictions that are about to leave; must return at once and not raise.
    """

    def __init__(
        self,
        parts: LaneParts,
        *,
        pipeline: RiskPipeline,
        version: Callable[[], Awaitable[ModelVersion]],
        role: ModelRole,
        split_by: Callable[[], str | None],
        on_fresh: Callable[[Fresh], None],
    ) -> None:
        self._parts = parts
        self._pipeline = pipeline
        self._version = version
        self._role: ModelRole = role
        self._split_by = split_by
        self._on_fresh = on_fresh
        self._limit = TimeLimit(parts.options.answer_timeout_s)
        self._coalescer: Coalescer[Asked, Answer] = Coalescer(self._answer_batch, parts.options.batches)

    async def submit_many(self, asked: Sequence[Asked]) -> Sequence[Answer]:
        """The answers, in the order asked.

        Raises:
            TooManyRequestsError: too many questions wait already.
            DependencyDownError: a server that is needed does not answer, or not in time.
        """
        return await self._coalescer.submit_many(asked)

    async def _answer_batch(self, asked: Sequence[Asked]) -> list[Answer]:
        waiting = Waiting(RAY_SERVE)
        return await self._limit.run(self._answered(asked, waiting), waiting)

    async def _answered(self, asked: Sequence[Asked], waiting: Waiting) -> list[Answer]:
        started = perf_counter()
        distinct = distinct_questions(asked)
        challenge_id = self._split_by()
        waiting.dependency = RAY_SERVE
        version = await self._version()
        waiting.dependency = REDIS
        reads = await self._parts.cache.read([answer_slot(item, version, challenge_id) for item in distinct])
        known: dict[Key, Answer] = {
            item.key: hit for item, read in zip(distinct, reads, strict=True) if (hit := usable_answer(item, read))
        }
        cached = set(known)
        missing = [(item, read) for item, read in zip(distinct, reads, strict=True) if item.key not in known]
        waiting.dependency = RAY_SERVE
        fresh = await self._score([item for item, _ in missing], challenge_id)
        known |= fresh
        waiting.dependency = POSTGRESQL
        await self._save(asked, known)
        waiting.dependency = REDIS
        await self._remember(missing, fresh, challenge_id)
        answers = [as_asked(known[item.key], item.question) for item in asked]
        counts = Counter((answer.status, item.key in cached) for item, answer in zip(asked, answers, strict=True))
        for (status, is_cached), answered in counts.items():
            self._parts.metrics.answered(answered, status=status, cached=is_cached)
        self._parts.metrics.batch_done(questions=len(asked), seconds=perf_counter() - started)
        self._on_fresh([(item, said) for item, _ in missing if isinstance(said := fresh[item.key], Prediction)])
        return answers

    async def _score(self, missing: Sequence[Asked], challenge_id: str | None) -> dict[Key, Answer]:
        periods = sorted({item.period for item in missing})
        groups = [[item for item in missing if item.period == period] for period in periods]
        parts = await asyncio.gather(*(self._score_period(group, challenge_id) for group in groups))
        return {key: answer for part in parts for key, answer in part.items()}

    async def _score_period(self, group: Sequence[Asked], challenge_id: str | None) -> dict[Key, Answer]:
        request = FetchRequest(tuple(item.question.student_id for item in group), group[0].as_of)
        wanted = [item.question.include_reasons for item in group]
        scored = await self._pipeline.score(request, with_reasons=wanted)
        answers = batch_answers(
            request,
            scored,
            new_id=self._parts.new_id,
            created_at=self._parts.clock.now(),
            role=self._role,
            challenge_id=challenge_id,
        )
        return {item.key: answer for item, answer in zip(group, answers, strict=True)}

    async def _save(self, asked: Sequence[Asked], known: Mapping[Key, Answer]) -> None:
        """Store and audit every answer that is about to leave, cached ones too; the store keeps a prediction once."""
        for actor in dict.fromkeys(item.question.actor for item in asked):
            rows = [
                (answer, item.question.request_id)
                for item in asked
                if item.question.actor == actor and not isinstance(answer := known[item.key], UnknownStudent)
            ]
            if rows:
                await self._parts.store.save(
                    [answer for answer, _ in rows],
                    actor=actor,
                    action=AUDIT_ACTION,
                    request_ids=[request_id for _, request_id in rows],
                )

    async def _remember(
        self,
        missing: Sequence[tuple[Asked, CacheRead]],
        fresh: Mapping[Key, Answer],
        challenge_id: str | None,
    ) -> None:
        entries: list[CacheWrite] = []
        for item, read in missing:
            answer = fresh[item.key]
            if isinstance(answer, Prediction):
                slot = answer_slot(item, answer.model_version, challenge_id)
                entries.append(CacheWrite(slot, read.generation, encode_prediction(answer)))
        if entries and self._parts.options.cache_ttl_s > 0:
            await self._parts.cache.write(entries, ttl_s=self._parts.options.cache_ttl_s)


def nothing_to_do(_: Fresh) -> None:
    """For a lane whose predictions nobody else scores."""
