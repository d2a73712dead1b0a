"""The windows between two predictions, computed from the records as each of the two knew them."""

import asyncio
from collections.abc import Awaitable, Callable
from zoneinfo import ZoneInfo

from deployments.change_messages import ChangeRequest, FetchedChange
from deployments.windows import ComputeFeatures
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ports import PastRecords, RecordReader
from edupulse_ml.core.sequences import last_windows
from edupulse_ml.core.weeks import cutoff_of, last_closed_week
from edupulse_ml.explain.change_windows import change_windows

ComputeFor = Callable[[FeatureContract], ComputeFeatures]
"""The function that computes the features of a contract."""


class ChangeFetcher:
    """Fetches what `explain_change` asks a model about.

    Args:
        reader: Finds the student.
        past: Records as they stood after an earlier import.
        zone: Returns the zone in which the district's weeks close.
        compute_for: Computes features from records.
    """

    def __init__(
        self,
        reader: RecordReader,
        past: PastRecords,
        *,
        zone: Callable[[], Awaitable[ZoneInfo]],
        compute_for: ComputeFor,
    ) -> None:
        self._reader = reader
        self._past = past
        self._zone = zone
        self._compute_for = compute_for

    async def fetch(self, request: ChangeRequest) -> FetchedChange:
        """The windows of a move. Features are computed anew, as the stored ones are those of today's records.

        Raises:
            NotFoundError: the district has no such student.
            NotEnoughDataError: the records no longer hold a week of the earlier prediction.
            DependencyDownError: the store does not answer.
        """
        zone = await self._zone()
        found = await self._reader.find_students([request.student_id])
        if request.student_id not in found:
            raise NotFoundError("The district has no such student: import the student's records first.")
        keys = [found[request.student_id]]
        before, after = request.before, request.after
        first, last = (last_closed_week(seen.as_of, zone) for seen in (before, after))
        since, until = cutoff_of(first, zone), cutoff_of(last, zone)
        seen_before = await self._past.last_import(before.made_at)
        seen_after = await self._past.last_import(after.made_at)
        then = await self._past.records_of(keys, as_of=since, last_import=seen_before)
        now = await self._past.records_of(keys, as_of=until, last_import=seen_after)
        uncorrected = await self._past.records_of(keys, as_of=until, last_import=seen_after, corrected_since=since)
        old, new = before.model, after.model
        compute = self._compute_for(old.contract)
        block = await asyncio.to_thread(compute, now, last)
        windows = change_windows(
            await asyncio.to_thread(compute, then, first),
            block,
            await asyncio.to_thread(compute, uncorrected, last),
            last_week=first,
            window_weeks=old.contract.window_weeks,
        )
        if new.contract != old.contract:
            block = await asyncio.to_thread(self._compute_for(new.contract), now, last)
        return FetchedChange(old, new, windows, last_windows(block, window_weeks=new.contract.window_weeks))
