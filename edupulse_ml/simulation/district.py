"""Runs a plan."""

from collections.abc import Iterator
from dataclasses import dataclass

from edupulse_ml.simulation.coursework_process import Syllabus, build_syllabus
from edupulse_ml.simulation.dynamics import Chunk
from edupulse_ml.simulation.population import People, Schools, build_people, build_schools
from edupulse_ml.simulation.school_calendar import DistrictCalendar, build_calendar
from edupulse_ml.simulation.settings import DistrictPlan
from edupulse_ml.simulation.trajectories import Trajectory


@dataclass(frozen=True)
class District:
    """What all chunks share."""

    plan: DistrictPlan
    schools: Schools
    calendar: DistrictCalendar
    syllabus: Syllabus


def build_district(plan: DistrictPlan) -> District:
    """Schools, calendar and syllabus of a plan."""
    calendar = build_calendar(plan)
    return District(plan, build_schools(plan), calendar, build_syllabus(calendar, seed=plan.seed))


def live(district: District) -> Iterator[tuple[People, Trajectory]]:
    """The people of one school after the other, with all that happened to them."""
    weeks = min(year.n_weeks for year in district.calendar.years)
    for school in range(district.schools.n_schools):
        people = build_people(district.plan, district.schools, school=school, weeks_per_year=weeks)
        chunk = Chunk(
            district.plan,
            people,
            schools=district.schools,
            calendar=district.calendar,
            syllabus=district.syllabus,
        )
        yield people, chunk.run()
