"""Feature windows of many students: from the cache, else materialised, else computed from their records.

Whatever the number of students, a call makes one read of the cache, and one query per source that is needed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from deployments.messages import FetchedStudent, FetchedWindows, FetchRequest
from deployments.window_codec import decode_window, encode_window
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.ports import AnswerCache, CacheRead, CacheSlot, CacheWrite, FeatureStore, RecordReader
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch, concatenate_batches, empty_windows, last_windows
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_of, what_is_missing
from edupulse_ml.core.weeks import cutoff_of, day_number, last_closed_week

ComputeFeatures = Callable[[RecordSet, int], FeatureBlock]
"""(records, through_week) -> all steps up to and including that week."""


class FetchMetrics(Protocol):
    """Counts windows by where they came from: `cache`, `store` or `records`."""

    def fetched(self, *, source: str, windows: int) -> None: ...


@dataclass(frozen=True)
class WindowSources:
    """Where windows come from. `zone` returns the zone in which the district's weeks close."""

    reader: RecordReader
    store: FeatureStore
    cache: AnswerCache
    compute: ComputeFeatures
    zone: Callable[[], Awaitable[ZoneInfo]]


class WindowFetcher:
    """Fetches windows for one feature contract.

    Args:
        sources: Cache, store, records, and the function that computes features from them.
        contract: What the windows must look like.
        policy: When there is enough data to score.
        cache_ttl_s: How long a window stays cached, in seconds; 0 caches nothing.
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
        slots = [CacheSlot(student_id, self._field(week)) for student_id in request.student_ids]
        reads = await self._sources.cache.read(slots)
        windows = self._decoded(request.student_ids, reads)
        self._metrics.fetched(source="cache", windows=len(windows))
        missing = [student_id for student_id in request.student_ids if student_id not in windows]
        if missing:
            found = await self._from_store(missing, week=week, zone=zone)
            windows |= found
            await self._remember(slots, reads, found)
        return self._assembled(request, windows, today=day_number(request.as_of.astimezone(zone).date()))

    def _field(self, week: int) -> str:
        return f"window:{self._contract.fingerprint}:{week}"

    def _decoded(self, student_ids: Sequence[StudentId], reads: Sequence[CacheRead]) -> dict[StudentId, SequenceBatch]:
        windows: dict[StudentId, SequenceBatch] = {}
        for student_id, read in zip(student_ids, reads, strict=True):
            if read.value is None:
                continue
            window = decode_window(read.value, window_weeks=self._contract.window_weeks)
            if window is not None:
                windows[student_id] = window
        return windows

    async def _from_store(
        self, student_ids: Sequence[StudentId], *, week: int, zone: ZoneInfo
    ) -> dict[StudentId, SequenceBatch]:
        key_of = await self._sources.reader.find_students(student_ids)
        known = [student_id for student_id in student_ids if student_id in key_of]
        if not known:
            return {}
        keys = [key_of[student_id] for student_id in known]
        stored = await self._sources.store.latest_windows(
            keys,
            through_week=week,
            window_weeks=self._contract.window_weeks,
            contract_fingerprint=self._contract.fingerprint,
        )
        current = np.asarray(stored.is_current, dtype=np.bool_)
        windows = last_windows(
            stored.block.select(np.flatnonzero(current).astype(np.int32)), window_weeks=self._contract.window_weeks
        )
        self._metrics.fetched(source="store", windows=int(current.sum()))
        ids = [student_id for student_id, is_current in zip(known, current, strict=True) if is_current]
        stale = [student_id for student_id, is_current in zip(known, current, strict=True) if not is_current]
        found = {student_id: windows.select([row]) for row, student_id in enumerate(ids)}
        if stale:
            computed = await self._computed([key_of[student_id] for student_id in stale], week=week, zone=zone)
            self._metrics.fetched(source="records", windows=len(stale))
            found |= {student_id: computed.select([row]) for row, student_id in enumerate(stale)}
        return found

    async def _computed(self, keys: Sequence[StudentKey], *, week: int, zone: ZoneInfo) -> SequenceBatch:
        records = await self._sources.reader.records_of(keys, as_of=cutoff_of(week, zone))
        block = await asyncio.to_thread(self._sources.compute, records, week)
        return last_windows(block, window_weeks=self._contract.window_weeks)

    async def _remember(
        self, slots: Sequence[CacheSlot], reads: Sequence[CacheRead], found: Mapping[StudentId, SequenceBatch]
    ) -> None:
        entries = [
            CacheWrite(slot, read.generation, encode_window(found[slot.student_id], 0))
            for slot, read in zip(slots, reads, strict=True)
            if slot.student_id in found
        ]
        if entries and self._cache_ttl_s > 0:
            await self._sources.cache.write(entries, ttl_s=self._cache_ttl_s)

    def _assembled(
        self, request: FetchRequest, windows: Mapping[StudentId, SequenceBatch], *, today: int
    ) -> FetchedWindows:
        known = [student_id for student_id in request.student_ids if student_id in windows]
        parts = [windows[student_id] for student_id in known]
        batch = concatenate_batches(parts) if parts else empty_windows(0, window_weeks=self._contract.window_weeks)
        described = dict(zip(known, self._described(batch, today=today), strict=True))
        unknown = FetchedStudent("unknown_student")
        students = tuple(described.get(student_id, unknown) for student_id in request.student_ids)
        scorable = np.asarray([described[student_id].status == "found" for student_id in known], dtype=np.bool_)
        return FetchedWindows(students, batch.select(scorable), self._contract.fingerprint)

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
