"""Feature windows of many students: materialised, else from the cache, else computed from their records.

Whatever the number of students, a call makes one query, and one more per source that is needed beside the stored
windows. The cache holds only what was computed: a stored window costs no more to read than a cached one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from deployments.messages import FetchedStudent, FetchedWindows, FetchRequest
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.ports import AnswerCache, CacheSlot, CacheWrite, FeatureStore, RecordReader
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch, concatenate_batches, last_windows
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_of, what_is_missing
from edupulse_ml.core.weeks import cutoff_of, day_number, last_closed_week
from edupulse_ml.core.windows import decode_windows, encode_windows, window_size_bytes

ComputeFeatures = Callable[[RecordSet, int], FeatureBlock]
"""(records, through_week) -> all steps up to and including that week."""


class FetchMetrics(Protocol):
    """Counts windows by where they came from: `store`, `cache` or `records`."""

    def fetched(self, *, source: str, windows: int) -> None: ...


@dataclass(frozen=True)
class WindowSources:
    """Where windows come from. `zone` returns the zone in which the district's weeks close."""

    reader: RecordReader
    store: FeatureStore
    cache: AnswerCache
    compute: ComputeFeatures
    zone: Callable[[], Awaitable[ZoneInfo]]


@dataclass(frozen=True)
class _Part:
    """Windows of some of the students asked for, one per position."""

    positions: NDArray[np.intp]
    windows: SequenceBatch


class WindowFetcher:
    """Fetches windows for one feature contract.

    Args:
        sources: Store, cache, records, and the function that computes features from them.
        contract: What the windows must look like.
        policy: When there is enough data to score.
        cache_ttl_s: How long a computed window stays cached, in seconds; 0 caches nothing.
        metrics: Counters.
    """

    def __init__(
        self,
        sources: WindowSources,
        *,
        contract: FeatureContract,
        policy: SufficiencyPolicy,
        cache_ttl_s: int,
        metrics: FetchMetrics,
    ) -> None:
        self._sources = sources
        self._contract = contract
        self._policy = policy
        self._cache_ttl_s = cache_ttl_s
        self._metrics = metrics

    async def fetch_many(self, request: FetchRequest) -> FetchedWindows:
        """Windows of all students of the request, whose ids must differ.

        Raises:
            DependencyDownError: the store does not answer. (A cache that does not answer only costs time.)
        """
        zone = await self._sources.zone()
        week = last_closed_week(request.as_of, zone)
        found = await self._sources.store.find_windows(request.student_ids, through_week=week, contract=self._contract)
        parts = [_Part(np.flatnonzero(found.has_window), found.batch)]
        known = found.keys != 0
        single_weeks = np.flatnonzero(found.is_current & ~found.has_window)
        if len(single_weeks):
            parts.append(await self._from_weeks(found.keys, single_weeks, week=week))
        self._metrics.fetched(source="store", windows=sum(len(part.positions) for part in parts))
        missing = known.copy()
        for part in parts:
            missing[part.positions] = False
        if missing.any():
            parts += await self._not_stored(
                request.student_ids, found.keys, np.flatnonzero(missing), week=week, zone=zone
            )
        today = day_number(request.as_of.astimezone(zone).date())
        return self._assembled(len(known), parts, today=today)

    async def _from_weeks(self, keys: NDArray[np.int64], positions: NDArray[np.intp], *, week: int) -> _Part:
        """Windows of students whose weeks are stored one by one; those that an import overtook meanwhile are absent."""
        stored = await self._sources.store.latest_windows(
            _student_keys(keys, positions),
            through_week=week,
            window_weeks=self._contract.window_weeks,
            contract_fingerprint=self._contract.fingerprint,
        )
        current = np.flatnonzero(np.asarray(stored.is_current, dtype=np.bool_))
        block = stored.block.select(current.astype(np.int32))
        return _Part(positions[current], last_windows(block, window_weeks=self._contract.window_weeks))

    async def _not_stored(
        self,
        student_ids: Sequence[StudentId],
        keys: NDArray[np.int64],
        positions: NDArray[np.intp],
        *,
        week: int,
        zone: ZoneInfo,
    ) -> list[_Part]:
        """Windows out of the cache, and those of the other students computed and cached."""
        slots = [CacheSlot(student_ids[position], self._field(week)) for position in positions.tolist()]
        reads = await self._sources.cache.read(slots)
        size = window_size_bytes(self._contract.window_weeks)
        records = [read.value for read in reads if read.value is not None and len(read.value) == size]
        is_cached = np.array([read.value is not None and len(read.value) == size for read in reads], dtype=np.bool_)
        self._metrics.fetched(source="cache", windows=len(records))
        cached = _Part(
            positions[is_cached], decode_windows(b"".join(records), window_weeks=self._contract.window_weeks)
        )
        if is_cached.all():
            return [cached]
        rest = positions[~is_cached]
        windows = await self._computed(_student_keys(keys, rest), week=week, zone=zone)
        self._metrics.fetched(source="records", windows=len(rest))
        if self._cache_ttl_s > 0:
            entries = [
                CacheWrite(slots[int(index)], reads[int(index)].generation, value)
                for index, value in zip(np.flatnonzero(~is_cached), encode_windows(windows), strict=True)
            ]
            await self._sources.cache.write(entries, ttl_s=self._cache_ttl_s)
        return [cached, _Part(rest, windows)]

    def _field(self, week: int) -> str:
        return f"window:{self._contract.fingerprint}:{week}"

    async def _computed(self, keys: Sequence[StudentKey], *, week: int, zone: ZoneInfo) -> SequenceBatch:
        records = await self._sources.reader.records_of(keys, as_of=cutoff_of(week, zone))
        block = await asyncio.to_thread(self._sources.compute, records, week)
        return last_windows(block, window_weeks=self._contract.window_weeks)

    def _assembled(self, n_students: int, parts: Sequence[_Part], *, today: int) -> FetchedWindows:
        positions = np.concatenate([part.positions for part in parts])
        batch = parts[0].windows
        if len(parts) > 1:
            order = np.argsort(positions)
            positions = positions[order]
            batch = concatenate_batches([part.windows for part in parts]).select(order)
        students = [FetchedStudent("unknown_student")] * n_students
        described = self._described(batch, today=today)
        for position, student in zip(positions.tolist(), described, strict=True):
            students[position] = student
        scorable = np.array([student.status == "found" for student in described], dtype=np.bool_)
        return FetchedWindows(
            tuple(students), batch if scorable.all() else batch.select(scorable), self._contract.fingerprint
        )

    def _described(self, batch: SequenceBatch, *, today: int) -> list[FetchedStudent]:
        described: list[FetchedStudent] = []
        for row, coverage in enumerate(coverage_of(batch)):
            if coverage.weeks == 0:
                missing = what_is_missing(coverage, feature_age_days=0, policy=self._policy)
                described.append(FetchedStudent("insufficient", None, coverage, missing))
                continue
            week = int(batch.week[row, coverage.weeks - 1])
            missing = what_is_missing(coverage, feature_age_days=today - (week + 6), policy=self._policy)
            described.append(FetchedStudent("insufficient" if missing else "found", week, coverage, missing))
        return described


def _student_keys(keys: NDArray[np.int64], positions: NDArray[np.intp]) -> list[StudentKey]:
    return [StudentKey(key) for key in keys[positions].tolist()]
