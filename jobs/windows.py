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
    contract = stores.contract
    stored = await stores.features.latest_windows(
        keys,
        through_week=through_week,
        window_weeks=contract.window_weeks,
        contract_fingerprint=contract.fingerprint,
    )
    current = np.asarray(stored.is_current, dtype=np.bool_)
    windows = last_windows(stored.block, window_weeks=contract.window_weeks)
    stale = np.flatnonzero(~current)
    if not len(stale):
        return windows
    records = await stores.reader.records_of([keys[int(row)] for row in stale], as_of=cutoff_of(through_week, zone))
    options = FeatureOptions(objective_discipline_only=contract.objective_discipline_only)
    block = await asyncio.to_thread(compute_features, records, through_week=through_week, options=options)
    position = np.arange(len(keys))
    position[stale] = len(keys) + np.arange(len(stale))
    both = concatenate_batches([windows, last_windows(block, window_weeks=contract.window_weeks)])
    return both.select(position)
