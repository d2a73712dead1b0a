"""Rows of `schools`, `calendar`, `students` and `enrollments`."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.core.tables import CALENDAR, ENROLLMENTS, SCHOOLS, STUDENTS
from edupulse_ml.simulation.arrow_tables import AFTERNOON, MORNING, at, canonical, dates, known_by, moments, names
from edupulse_ml.simulation.population import RACES, People, Schools, school_id, student_ids
from edupulse_ml.simulation.school_calendar import DistrictCalendar
from edupulse_ml.simulation.trajectories import Spells

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_YES_NO = ("no", "yes")
_SCHOOL_NAMES = ("Northside", "Lakeview", "Franklin", "Riverside", "Washington", "Eastgate", "Lincoln", "Hillcrest")


def school_rows(schools: Schools) -> pa.Table:
    """One row per school."""
    ids = [school_id(index) for index in range(schools.n_schools)]
    titles = [
        f"{_SCHOOL_NAMES[index % len(_SCHOOL_NAMES)]} High School {index + 1}" for index in range(schools.n_schools)
    ]
    return canonical(
        SCHOOLS,
        {"school_id": pa.array(ids), "name": pa.array(titles), "records_tardies": schools.records_tardies},
    )


def calendar_rows(calendar: DistrictCalendar, *, schools: int, last_day: int | None) -> pa.Table:
    """One row per school and date of every school year, weekends included."""
    parts = []
    silent = calendar.silent
    for year in calendar.years:
        days = np.arange(year.first_day, year.last_day + 1, dtype=np.int64)
        term = ((days - year.first_day) // 7 >= year.second_term_week).astype(np.int64)
        for school in range(schools):
            gap = (days >= silent.first_day) & (days <= silent.last_day) & (school == silent.school)
            parts.append(
                canonical(
                    CALENDAR,
                    {
                        "school_id": pa.array([school_id(school)] * len(days)),
                        "date": dates(days),
                        "is_instructional": year.instructional_on(days, school=school, last_day=last_day),
                        "term_id": names(term, year.term_ids()),
                        "school_year": np.full(len(days), year.school_year),
                        "discipline_reported": ~gap,
                    },
                )
            )
    return pa.concat_tables(parts)


def student_rows(people: People, *, was_seen: Bool) -> pa.Table:
    """One row per person of whom there is a record. The audit attributes are read by no model."""
    return canonical(
        STUDENTS,
        {
            "student_id": pa.array(student_ids(people)),
            "person_id": pa.array(student_ids(people)),
            "birth_date": dates(people.birth_day),
            "sex": names(people.female.astype(np.int64), ("male", "female")),
            "race_ethnicity": names(people.race, RACES),
            "english_learner": names(people.english_learner.astype(np.int64), _YES_NO),
            "special_education": names(people.special_education.astype(np.int64), _YES_NO),
            "economically_disadvantaged": names(people.poor.astype(np.int64), _YES_NO),
        },
    ).filter(pa.array(was_seen))


def enrollment_rows(people: People, spells: Spells, *, schools: int, last_day: int | None) -> pa.Table:
    """Two versions of every enrolment, entry and exit, and a third where the exit code was mended later."""
    order = np.lexsort((spells.entry_day, spells.person))
    opened = _versions(people, spells, order, schools=schools, known=at(spells.entry_day, MORNING), code=None)
    closed = _versions(
        people, spells, order, schools=schools, known=at(spells.exit_known_day, AFTERNOON), code=spells.exit_code
    )
    mended = order[(spells.corrected_code != spells.exit_code)[order]]
    corrected = _versions(
        people, spells, mended, schools=schools, known=at(spells.corrected_day, AFTERNOON), code=spells.corrected_code
    )
    return known_by(pa.concat_tables([opened, closed, corrected]), last_day=last_day)


def _versions(
    people: People, spells: Spells, chosen: Int, *, schools: int, known: Int, code: NDArray[np.str_] | None
) -> pa.Table:
    columns: dict[str, pa.Array | NDArray[np.generic]] = {
        "student_id": names(spells.person[chosen], student_ids(people)),
        "school_id": names(spells.school[chosen], [school_id(index) for index in range(schools)]),
        "grade_level": spells.grade_level[chosen],
        "entry_date": dates(spells.entry_day[chosen]),
        "recorded_at": moments(known[chosen]),
    }
    if code is not None:
        columns["exit_date"] = dates(spells.exit_day[chosen])
        columns["exit_code"] = pa.array(code[chosen].tolist(), type=pa.string())
        columns["last_attended_date"] = dates(spells.last_attended_day[chosen])
    return canonical(ENROLLMENTS, columns)
