"""The latest windows of a chunk of enrolled students, out of the district's stores."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.sequences import SequenceBatch, concatenate_batches
from edupulse_ml.core.weeks import last_closed_week, local_day
from edupulse_ml.storage.scoring_runs import Chunk
from jobs.bulk.stores import BulkStores
from jobs.windows import latest_windows_of

_STUDENTS_PER_READ = 2048


@dataclass(frozen=True)
class AsOf:
    """The moment as of which a district is looked at, and the IANA name of its zone."""

    moment: datetime
    zone_name: str

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone_name)

    @property
    def today(self) -> int:
        """Day number of the local day."""
        return local_day(self.moment, self.zone)

    @property
    def through_week(self) -> int:
        """The last week that has closed, by its Monday's day number."""
        return last_closed_week(self.moment, self.zone)


async def read_enrolled(stores: BulkStores, chunk: Chunk, as_of: AsOf) -> tuple[list[StudentKey], SequenceBatch]:
    """Those of the chunk's students who have an enrolment open on the day of `as_of`, as known then, and one window
    each; a window without a real step where a student has none.
    """
    keys = [StudentKey(key) for key in (await stores.runs.keys_between(chunk)).tolist()]
    exits = await stores.reader.exits_of(keys, as_of=as_of.moment)
    today = as_of.today
    is_open = (
        (exits.known_day <= today)
        & (today < exits.superseded_day)
        & (exits.entry_day <= today)
        & (today < exits.exit_day)
    )
    enrolled = [keys[position] for position in np.unique(exits.student[is_open])]
    through_week, zone = as_of.through_week, as_of.zone
    parts = [
        await latest_windows_of(
            stores, enrolled[start : start + _STUDENTS_PER_READ], through_week=through_week, zone=zone
        )
        for start in range(0, max(len(enrolled), 1), _STUDENTS_PER_READ)
    ]
    return enrolled, parts[0] if len(parts) == 1 else concatenate_batches(parts)
