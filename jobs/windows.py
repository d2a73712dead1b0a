"""The latest window of many students: materialised where current, else computed from their records."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.sequences import SequenceBatch, concatenate_batches, last_windows
from edupulse_ml.core.weeks import cutoff_of
from features.compute import FeatureOptions, compute_features

if TYPE_CHECKING:
    from jobs.bulk.stores import BulkStores


async def latest_windows_of(
    stores: "BulkStores", keys: Sequence[StudentKey], *, through_week: int, zone: ZoneInfo
) -> SequenceBatch:
    """One window per key, in order; a window without a real step where a student has none."""
    student_ids = await stores.reader.student_ids(keys)
    found = await stores.features.find_windows(student_ids, through_week=through_week, contract=stores.contract)
    if found.has_window.all():
        return found.batch
    # An import between the two reads may have overtaken a student's weeks: those are computed, too.
    asked = np.flatnonzero(~found.has_window & found.is_current)
    single_weeks, is_current = await _from_weeks(stores, [keys[row] for row in asked.tolist()], through_week)
    stale = np.sort(np.concatenate([np.flatnonzero(~found.is_current), asked[~is_current]]))
    parts = [found.batch, single_weeks]
    positions = [np.flatnonzero(found.has_window), asked[is_current]]
    if len(stale):
        parts.append(await _computed(stores, [keys[row] for row in stale.tolist()], through_week, zone))
        positions.append(stale)
    return concatenate_batches(parts).select(np.argsort(np.concatenate(positions)))


async def _from_weeks(
    stores: "BulkStores", keys: Sequence[StudentKey], through_week: int
) -> tuple[SequenceBatch, np.ndarray]:
    """Windows of those students whose weeks are stored one by one and current, and which of them that are."""
    weeks = stores.contract.window_weeks
    stored = await stores.features.latest_windows(
        keys, through_week=through_week, window_weeks=weeks, contract_fingerprint=stores.contract.fingerprint
    )
    is_current = np.asarray(stored.is_current, dtype=np.bool_)
    block = stored.block.select(np.flatnonzero(is_current).astype(np.int32))
    return last_windows(block, window_weeks=weeks), is_current


async def _computed(
    stores: "BulkStores", keys: Sequence[StudentKey], through_week: int, zone: ZoneInfo
) -> SequenceBatch:
    contract = stores.contract
    records = await stores.reader.records_of(keys, as_of=cutoff_of(through_week, zone))
    options = FeatureOptions(objective_discipline_only=contract.objective_discipline_only)
    block = await asyncio.to_thread(compute_features, records, through_week=through_week, options=options)
    return last_windows(block, window_weeks=contract.window_weeks)
