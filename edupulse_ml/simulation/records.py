"""From a plan to canonical record tables, one school's people at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from edupulse_ml.core.weeks import day_number
from edupulse_ml.simulation.attendance_rows import attendance_rows
from edupulse_ml.simulation.coursework_rows import grade_rows, transcript_rows
from edupulse_ml.simulation.discipline_rows import discipline_rows
from edupulse_ml.simulation.district import District, build_district, live
from edupulse_ml.simulation.population import People
from edupulse_ml.simulation.reference_rows import calendar_rows, enrollment_rows, school_rows, student_rows
from edupulse_ml.simulation.settings import DistrictPlan
from edupulse_ml.simulation.support_rows import support_rows
from edupulse_ml.simulation.trajectories import Trajectory
from edupulse_ml.simulation.truth import person_truth, weekly_truth


@dataclass(frozen=True)
class RecordChunk:
    """Canonical tables of one school's people, by table name, the support they were given, and the hidden truth about
    them.
    """

    tables: dict[str, pa.Table]
    support: pa.Table
    people: pa.Table
    weeks: pa.Table


def simulate(plan: DistrictPlan) -> Iterator[tuple[str, pa.Table]]:
    """Canonical tables in chunks, as (table name, rows). Whatever a row refers to came before it.

    The same plan gives the same chunks.
    """
    district = build_district(plan)
    yield from shared_tables(district)
    for chunk in record_chunks(district):
        yield from chunk.tables.items()


def shared_tables(district: District) -> Iterator[tuple[str, pa.Table]]:
    """Schools and calendar."""
    yield "schools", school_rows(district.schools)
    n_schools = district.schools.n_schools
    yield "calendar", calendar_rows(district.calendar, schools=n_schools, last_day=_last_day(district.plan))


def record_chunks(district: District) -> Iterator[RecordChunk]:
    """The records of one school's people after the other."""
    for people, trajectory in live(district):
        yield _chunk(district, people, trajectory)


def _chunk(district: District, people: People, trajectory: Trajectory) -> RecordChunk:
    plan, last_day = district.plan, _last_day(district.plan)
    rng = np.random.default_rng([plan.seed, 6, people.home_school])
    spells = trajectory.spells
    entered = spells.person if last_day is None else spells.person[spells.entry_day <= last_day]
    was_seen = np.zeros(people.n_people, dtype=np.bool_)
    was_seen[entered] = True
    n_schools = district.schools.n_schools
    tables = {
        "students": student_rows(people, was_seen=was_seen),
        "enrollments": enrollment_rows(people, spells, schools=n_schools, last_day=last_day),
        "attendance_records": attendance_rows(rng, people, trajectory, schools=district.schools, last_day=last_day),
        "grades": grade_rows(rng, district, people, trajectory, last_day=last_day),
        "transcript": transcript_rows(district, people, trajectory, last_day=last_day),
        "discipline_incidents": discipline_rows(rng, people, trajectory, calendar=district.calendar, last_day=last_day),
    }
    truth = person_truth(people, trajectory).filter(pa.array(was_seen))
    support = support_rows(people, trajectory, last_day=last_day)
    return RecordChunk(tables, support, truth, weekly_truth(people, trajectory, last_day=last_day))


def _last_day(plan: DistrictPlan) -> int | None:
    return None if plan.through is None else day_number(plan.through)
