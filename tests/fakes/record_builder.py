"""Small record sets from ASCII tables, for tests that can be read like a school's own lists.

Tables are columns separated by blanks, with a header; `-` is a missing value. Days are written `W3.Tue` (Tuesday of
the third week; `W3` is its Monday); week 1 begins on Monday, 2 September 2024, and `W0`, `W-5` lie before it.
Weeks of the calendar and of attendance are written as ranges (`1-8`) with one letter per weekday.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from edupulse_ml.core import records as rec
from edupulse_ml.core.tables import ATTENDANCE_STATUSES, DISCIPLINE_ACTIONS, SUBJECTS
from edupulse_ml.core.weeks import NEVER, day_number

WEEK_1 = day_number(date(2024, 9, 2))
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LETTERS = {
    "P": "present",
    "E": "absent_excused",
    "U": "absent_unexcused",
    "T": "tardy",
    "S": "suspended_out",
    "R": "remote_present",
}
HALF_DAY_LETTERS = {letter.lower(): status for letter, status in _LETTERS.items()}
_DEFAULT_CALENDAR = """
    school  weeks  days   term  year
    A       1-30   MTWTF  S1    2024
"""
_DEFAULT_ENROLLMENTS = """
    student  school  grade  entry  exit
    s        A       9      W1     -
"""


def week(number: int) -> int:
    """Monday's day number of a week."""
    return WEEK_1 + 7 * (number - 1)


def day(text: str) -> int:
    """Day number of `W3.Tue`; `-` is `NEVER`."""
    if text == "-":
        return NEVER
    name, _, weekday = text.partition(".")
    return week(int(name[1:])) + (_WEEKDAYS.index(weekday) if weekday else 0)


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of an ASCII table, as a dict per row."""
    lines = [line.split() for line in text.strip().splitlines() if line.strip()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]] if lines else []


@dataclass
class Codes:
    """Positions of names, in order of first use."""

    names: list[str]

    def of(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


def _weeks(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _events(kind, rows: Sequence[dict]):
    return kind(
        **{
            name: np.array([row[name] for row in rows], dtype=rec.column_dtype(name))
            for name in kind.__dataclass_fields__
        }
    )


def _known(row: dict[str, str], default_day: int) -> dict[str, int]:
    return {
        "known_day": day(row["known"]) if row.get("known", "-") != "-" else default_day,
        "superseded_day": day(row.get("until", "-")),
    }


def _number(text: str) -> float:
    return float("nan") if text == "-" else float(text)


def _calendars(text: str, schools: Codes, terms: Codes) -> rec.SchoolCalendars:
    rows = rows_of(text)
    n_weeks = max(_weeks(row["weeks"])[-1] for row in rows)
    names = [schools.of(row["school"]) for row in rows]
    shape = (max(names) + 1, 7 * n_weeks)
    instructional, reported = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    term, year = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
    tardies = np.ones(shape[0], dtype=bool)
    for school, row in zip(names, rows, strict=True):
        tardies[school] = row.get("tardies", "yes") == "yes"
        for number in _weeks(row["weeks"]):
            start = 7 * (number - 1)
            for weekday, letter in enumerate(row["days"]):
                instructional[school, start + weekday] = letter != "."
            term[school, start : start + 7] = terms.of(row["term"]) if row["term"] != "-" else -1
            year[school, start : start + 7] = int(row["year"])
            reported[school, start : start + 7] = row.get("reported", "yes") == "yes"
    return rec.SchoolCalendars(WEEK_1, instructional, term, year, reported, tardies)


def _attendance(text: str, students: Codes) -> list[dict]:
    out = []
    for row in rows_of(text):
        for number in _weeks(row["weeks"]):
            for weekday, letter in enumerate(row["days"]):
                if letter == ".":
                    continue
                on = week(number) + weekday
                status = {**_LETTERS, **HALF_DAY_LETTERS}[letter]
                out.append(
                    {
                        "student": students.of(row["student"]),
                        "day": on,
                        "status": ATTENDANCE_STATUSES.index(status),
                        "fraction_absent": 0.5 if letter.islower() else float("nan"),
                        "periods_absent": _number(row.get("periods_absent", "-")),
                        "periods_scheduled": _number(row.get("periods", "-")),
                        **_known(row, on),
                    }
                )
    return out


def _grades(text: str, students: Codes, courses: Codes, terms: Codes) -> list[dict]:
    return [
        {
            "student": students.of(row["student"]),
            "course": courses.of(row["course"]),
            "subject": SUBJECTS.index(row.get("subject", "other")),
            "is_core": row.get("core", "no") == "yes",
            "term": terms.of(row.get("term", "S1")),
            "due_day": day(row["due"]),
            "submitted_day": day(row.get("submitted", "-")),
            "posted_day": day(row.get("posted", "-")),
            "score_pct": _number(row.get("score", "-")),
            "points_weight": _number(row.get("points", "1")),
            **_known(row, WEEK_1 - 70),
        }
        for row in rows_of(text)
    ]


def _transcript(text: str, students: Codes, courses: Codes, terms: Codes) -> list[dict]:
    return [
        {
            "student": students.of(row["student"]),
            "term": terms.of(row["term"]),
            "course": courses.of(row["course"]),
            "is_core": row.get("core", "no") == "yes",
            "credits_attempted": _number(row.get("attempted", "1")),
            "credits_earned": _number(row.get("earned", "1")),
            "final_pct": _number(row["final"]),
            "posted_day": day(row["posted"]),
            **_known(row, day(row["posted"])),
        }
        for row in rows_of(text)
    ]


def _discipline(text: str, students: Codes) -> list[dict]:
    return [
        {
            "student": students.of(row["student"]),
            "day": day(row["day"]),
            "is_objective": row.get("objective", "no") == "yes",
            "severity": int(row.get("severity", "1")),
            "is_major": row.get("major", "no") == "yes",
            "action": DISCIPLINE_ACTIONS.index(row.get("action", "none")),
            "action_start_day": day(row.get("start", "-")),
            "action_days": _number(row.get("days", "-")),
            **_known(row, day(row["day"])),
        }
        for row in rows_of(text)
    ]


def _enrollments(text: str, students: Codes, schools: Codes) -> list[dict]:
    return [
        {
            "student": students.of(row["student"]),
            "school": schools.of(row["school"]),
            "grade_level": int(row["grade"]),
            "entry_day": day(row["entry"]),
            "exit_day": day(row.get("exit", "-")),
            **_known(row, min(day(row["entry"]), WEEK_1)),
        }
        for row in rows_of(text)
    ]


def build_records(
    *,
    calendar: str = _DEFAULT_CALENDAR,
    enrollments: str = _DEFAULT_ENROLLMENTS,
    attendance: str = "",
    grades: str = "",
    transcript: str = "",
    discipline: str = "",
    births: str = "",
) -> rec.RecordSet:
    """The record set of the tables. Students are numbered in the order of `enrollments`.

    A `known` and an `until` column give the days on which a version became known and was superseded. Without
    `known`, attendance, incidents and transcripts are known on their own day, enrolments and assignments long before.
    In `attendance`, P E U T S R are whole days by status, lower case is half a day absent.
    """
    students, schools, terms, courses = Codes([]), Codes([]), Codes([]), Codes([])
    calendars = _calendars(calendar, schools, terms)
    enrolled = _events(rec.EnrollmentEvents, _enrollments(enrollments, students, schools))
    attended = _events(rec.AttendanceEvents, _attendance(attendance, students))
    graded = _events(rec.GradeEvents, _grades(grades, students, courses, terms))
    results = _events(rec.TranscriptEvents, _transcript(transcript, students, courses, terms))
    incidents = _events(rec.DisciplineEvents, _discipline(discipline, students))
    birth_day = np.full(len(students.names), NEVER, dtype=np.int32)
    for row in rows_of(births):
        birth_day[students.of(row["student"])] = day_number(date.fromisoformat(row["born"]))
    return rec.RecordSet(
        n_students=len(students.names),
        birth_day=birth_day,
        attendance=attended,
        grades=graded,
        transcript=results,
        discipline=incidents,
        enrollments=enrolled,
        calendars=calendars,
    )
