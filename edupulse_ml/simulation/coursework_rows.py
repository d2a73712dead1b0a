"""Rows of `grades` and `transcript`."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.core.tables import GRADES, TRANSCRIPT
from edupulse_ml.simulation.arrow_tables import (
    EVENING,
    MORNING,
    NOT_YET,
    at,
    canonical,
    dates,
    known_by,
    moments,
    names,
    not_after,
    numbers,
)
from edupulse_ml.simulation.calibration import COURSEWORK, MOVEMENT
from edupulse_ml.simulation.coursework_process import CATEGORIES, NEVER_SUBMITTED
from edupulse_ml.simulation.district import District
from edupulse_ml.simulation.enrolment_process import BY_HAZARD, BY_OTHER_CAUSE
from edupulse_ml.simulation.population import FIRST_GRADE, LAST_GRADE, People, school_id, student_ids
from edupulse_ml.simulation.trajectories import N_COURSES, Spells, Trajectory

Int = NDArray[np.int64]

SUBJECT_OF_COURSE: Final = ("math", "ela", "science", "social", "other", "other")
_COURSE_NAMES: Final = ("MATH", "ELA", "SCI", "SOC", "ART", "TECH")
_CORE_COURSES: Final = 4
_GRADES: Final = LAST_GRADE - FIRST_GRADE + 1
_POSTED_AFTER_TERM_DAYS: Final = 7
_MAX_POSTING_DAYS: Final = 14
_DAY_SPACE: Final = 1_000_000


def grade_rows(
    rng: np.random.Generator, district: District, people: People, trajectory: Trajectory, *, last_day: int | None
) -> pa.Table:
    """One row per student and item, known from the day it was set; a second one where the score was mended."""
    monday, school_of = trajectory.monday.astype(np.int64), trajectory.school.astype(np.int64)
    weekday = trajectory.item_due[school_of, np.arange(len(monday))[None, :]]
    on_roll = np.take_along_axis(trajectory.status, np.maximum(weekday, 0).astype(np.int64), axis=2) >= 0
    person, week, course = np.nonzero((weekday >= 0) & on_roll)
    school = school_of[person, week]
    n = len(person)
    due = monday[week] + weekday[person, week, course]
    after = trajectory.submitted_after[person, week, course].astype(np.int64)
    submitted = np.where(after == NEVER_SUBMITTED, -1, due + after)
    spell = spell_on(trajectory.spells, person=person, day=due)
    submitted = np.where(_came_too_late(trajectory, person, submitted, spell), -1, submitted)
    set_days_before = 2 + (week * 7 + course * 3 + school) % 5
    set_day = np.maximum(due - set_days_before, trajectory.spells.entry_day[spell])
    submitted = np.maximum(submitted, np.where(submitted >= 0, set_day, -1))
    teacher_days = 2.0 + (school * 5 + course * 3) % 5
    wait = np.minimum(np.floor(rng.gamma(2.0, teacher_days / 2, n)), _MAX_POSTING_DAYS).astype(np.int64)
    posted = at(np.where(submitted >= 0, np.maximum(submitted, due) + wait, -1), EVENING + 30)
    submitted_at = at(submitted, EVENING)
    submitted_at = np.where(not_after(submitted_at, last_day=last_day), submitted_at, NOT_YET)
    is_posted = (posted >= 0) & not_after(posted, last_day=last_day)
    score = np.where(is_posted, trajectory.score[person, week, course], np.nan)
    year = trajectory.year_of_week[week]
    first_week = np.searchsorted(trajectory.year_of_week, np.arange(len(district.calendar.years)))
    week_of_year = week - first_week[year]
    second_term = week_of_year >= np.array([y.second_term_week for y in district.calendar.years])[year]
    grade_level = trajectory.grade_level[person, week].astype(np.int64)

    def rows(keep: NDArray[np.integer] | slice, marks: NDArray[np.floating], known: Int) -> pa.Table:
        c = course[keep]
        return canonical(
            GRADES,
            {
                "student_id": names(person[keep], student_ids(people)),
                "course_id": _course_ids(district, school=school[keep], course=c, grade_level=grade_level[keep]),
                "subject": names(c, SUBJECT_OF_COURSE),
                "is_core": c < _CORE_COURSES,
                "term_id": _term_ids(district, year=year[keep], second=second_term[keep].astype(np.int64)),
                "assignment_id": names(week_of_year[keep], [f"W{index + 1:02d}" for index in range(60)]),
                "category": names(district.syllabus.category[school[keep], week[keep], c], CATEGORIES),
                "due_date": dates(due[keep]),
                "submitted_at": moments(submitted_at[keep]),
                "score_pct": numbers(marks),
                "points_weight": district.syllabus.weight[school[keep], week[keep], c],
                "posted_at": moments(np.where(is_posted, posted, NOT_YET)[keep]),
                "recorded_at": moments(known),
            },
        )

    mended = np.flatnonzero(is_posted & (rng.random(n) < MOVEMENT.corrected_score))
    change = rng.integers(3, 16, len(mended)) * np.where(rng.random(len(mended)) < 0.7, 1, -1)
    new_score = np.where(score[mended] + change > 100, score[mended] - np.abs(change), score[mended] + change)
    later = posted[mended] + 24 * 60 * rng.integers(2, 20, len(mended))
    first = rows(slice(None), score, at(set_day, MORNING))
    second = rows(mended, np.abs(new_score), later)
    return known_by(pa.concat_tables([first, second]), last_day=last_day)


def _came_too_late(trajectory: Trajectory, person: Int, submitted: Int, spell: Int) -> NDArray[np.bool_]:
    """Nobody hands in work after the last day attended or after the enrolment ended."""
    hidden = trajectory.hidden
    left = np.isin(hidden.leaving_kind, (BY_HAZARD, BY_OTHER_CAUSE))[person]
    return (submitted >= trajectory.spells.exit_day[spell]) | (left & (submitted > hidden.leaving_day[person]))


def spell_on(spells: Spells, *, person: Int, day: Int) -> Int:
    """Position in `spells` of the enrolment that holds each (person, day); every pair must be enrolled."""
    key = spells.person * _DAY_SPACE + spells.entry_day
    order = np.argsort(key, kind="stable")
    return order[np.searchsorted(key[order], person * _DAY_SPACE + day, side="right") - 1]


def transcript_rows(district: District, people: People, trajectory: Trajectory, *, last_day: int | None) -> pa.Table:
    """One row per student, term and course, posted a week after the term."""
    person, year, term, course = np.nonzero(~np.isnan(trajectory.final_pct))
    years = district.calendar.years
    first_week = np.searchsorted(trajectory.year_of_week, np.arange(len(years)))
    last_week = np.array(
        [[w + y.second_term_week - 1, w + y.n_weeks - 1] for w, y in zip(first_week, years, strict=True)]
    )
    term_end = np.array([[y.term_last_day(0), y.term_last_day(1)] for y in years])
    week = last_week[year, term]
    mark = trajectory.final_pct[person, year, term, course]
    credit = np.full(len(person), COURSEWORK.credits_per_course_term)
    posted = moments(at(term_end[year, term] + _POSTED_AFTER_TERM_DAYS, EVENING))
    rows = canonical(
        TRANSCRIPT,
        {
            "student_id": names(person, student_ids(people)),
            "term_id": _term_ids(district, year=year, second=term),
            "course_id": _course_ids(
                district,
                school=trajectory.school[person, week].astype(np.int64),
                course=course,
                grade_level=trajectory.grade_level[person, week].astype(np.int64),
            ),
            "is_core": course < _CORE_COURSES,
            "credits_attempted": credit,
            "credits_earned": np.where(mark >= COURSEWORK.pass_mark, credit, 0.0),
            "final_pct": numbers(mark),
            "posted_at": posted,
            "recorded_at": posted,
        },
    )
    return known_by(rows, last_day=last_day)


def _course_ids(district: District, *, school: Int, course: Int, grade_level: Int) -> pa.Array:
    vocabulary = [
        f"{school_id(s)}-{name}-{FIRST_GRADE + g:02d}"
        for s in range(district.schools.n_schools)
        for name in _COURSE_NAMES
        for g in range(_GRADES)
    ]
    return names((school * N_COURSES + course) * _GRADES + grade_level - FIRST_GRADE, vocabulary)


def _term_ids(district: District, *, year: Int, second: Int) -> pa.Array:
    vocabulary = [term for school_year in district.calendar.years for term in school_year.term_ids()]
    return names(2 * year + second, vocabulary)
