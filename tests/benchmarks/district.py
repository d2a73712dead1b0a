"""Seeded records that the benchmarks work on, in memory."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from edupulse_ml.connectors.memory import CanonicalRecords, records_from_tables
from edupulse_ml.core.records import (
    AttendanceEvents,
    DisciplineEvents,
    EnrollmentEvents,
    GradeEvents,
    RecordSet,
    TranscriptEvents,
)
from edupulse_ml.core.weeks import day_number
from edupulse_ml.simulation.records import simulate
from edupulse_ml.simulation.settings import DistrictPlan

ZONE: Final = ZoneInfo("America/New_York")
FIRST_YEAR: Final = 2024
SEED: Final = 1
LAST_WEEK: Final = day_number(date(FIRST_YEAR + 1, 6, 30))
"""The Monday after the first school year's last week."""


def one_year(students: int) -> DistrictPlan:
    """A district whose records hold one full school year."""
    return DistrictPlan(students=students, years=1, seed=SEED, first_year=FIRST_YEAR)


def canonical_tables(plan: DistrictPlan) -> Mapping[str, pa.Table]:
    """All rows of a plan, by table name."""
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for name, rows in simulate(plan):
        parts[name].append(rows)
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def canonical_records(plan: DistrictPlan) -> CanonicalRecords:
    """The records of a plan as the store would read them back."""
    return records_from_tables(canonical_tables(plan), zone=ZONE)


_Events = TypeVar("_Events", AttendanceEvents, GradeEvents, TranscriptEvents, DisciplineEvents, EnrollmentEvents)


def repeated(records: RecordSet, *, times: int) -> RecordSet:
    """The students of `records` so many times over, as different students of the same schools."""

    def again(events: _Events) -> _Events:
        columns = {f.name: np.tile(getattr(events, f.name), times) for f in fields(events)}
        shift = np.repeat(np.arange(times, dtype=np.int32) * records.n_students, len(events.student))
        return replace(events, **{**columns, "student": columns["student"] + shift})

    return RecordSet(
        n_students=records.n_students * times,
        birth_day=np.tile(records.birth_day, times),
        attendance=again(records.attendance),
        grades=again(records.grades),
        transcript=again(records.transcript),
        discipline=again(records.discipline),
        enrollments=again(records.enrollments),
        calendars=records.calendars,
    )
