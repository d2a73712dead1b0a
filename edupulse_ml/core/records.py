"""Dated records of some students, as columns of NumPy arrays: what `features` reads.

Shapes: every array of one event class has the same length E (one entry per *version* of a record). `student` is the
position 0..N-1 of the student in the set. Days are day numbers (`core.weeks`), `NEVER` where it has not happened.
A version is known from local day `known_day` on, until the day before `superseded_day`.
Unknown numbers are NaN. Rows may stand in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class AttendanceEvents:
    """One entry per version of a student-day. `status` is a position in `tables.ATTENDANCE_STATUSES`."""

    student: Int32
    day: Int32
    status: Int8
    fraction_absent: Float32
    periods_absent: Float32
    periods_scheduled: Float32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class GradeEvents:
    """One entry per version of a student-assignment. `course` and `term` are codes, equal for equal ids within the
    set. A submission counts from `submitted_day`, a score from `posted_day`, both also not before `known_day`;
    the assignment itself is known from `known_day`. `score_pct` NaN: no score.
    """

    student: Int32
    course: Int32
    subject: Int8
    is_core: Bool
    term: Int32
    due_day: Int32
    submitted_day: Int32
    posted_day: Int32
    score_pct: Float32
    points_weight: Float32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class TranscriptEvents:
    """One entry per version of a student-term-course result. Counts from `posted_day`, not before `known_day`."""

    student: Int32
    term: Int32
    course: Int32
    is_core: Bool
    credits_attempted: Float32
    credits_earned: Float32
    final_pct: Float32
    posted_day: Int32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class DisciplineEvents:
    """One entry per version of an incident. `action` is a position in `tables.DISCIPLINE_ACTIONS`."""

    student: Int32
    day: Int32
    is_objective: Bool
    severity: Int8
    is_major: Bool
    action: Int8
    action_start_day: Int32
    action_days: Float32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class EnrollmentEvents:
    """One entry per version of an enrolment. `school` is a position in `SchoolCalendars`. `exit_day` is the first day
    on which the student is no longer enrolled (`NEVER` while open). Exit codes are not here: they are never inputs.
    """

    student: Int32
    school: Int32
    grade_level: Int8
    entry_day: Int32
    exit_day: Int32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class ExitEvents:
    """How enrolments ended: one entry per version of an enrolment, open ones too. Labels are built from these;
    features never see them. `exit_code` is a position in `tables.EXIT_CODES`, -1 while open.
    """

    student: Int32
    entry_day: Int32
    exit_day: Int32
    exit_code: Int8
    last_attended_day: Int32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class SchoolCalendars:
    """Dense calendars, shape [schools, days]; column j is day `first_day + j`, and `first_day` is a Monday.

    `term` and `school_year` are -1 on days that no calendar row names. `term` uses the same codes as the grade and
    transcript events. `school_year` is the calendar year in which the school year starts.
    `discipline_reported` is the positive assertion that incidents of that day, if any, are in the records.
    """

    first_day: int
    is_instructional: Bool
    term: Int32
    school_year: Int32
    discipline_reported: Bool
    records_tardies: Bool
    """Shape [schools]."""


@dataclass(frozen=True)
class RecordSet:
    """All records of N students and the calendars of their schools. `birth_day` [N] is `NEVER` where unknown."""

    n_students: int
    birth_day: Int32
    attendance: AttendanceEvents
    grades: GradeEvents
    transcript: TranscriptEvents
    discipline: DisciplineEvents
    enrollments: EnrollmentEvents
    calendars: SchoolCalendars

    def select(self, students: Sequence[int] | Int32) -> "RecordSet":
        """The records of some students only, renumbered 0..len-1 in the order given.

        Raises:
            ValueError: a position is named twice.
        """
        chosen = np.asarray(students, dtype=np.int32)
        if len(np.unique(chosen)) != len(chosen):
            msg = "a student may be selected only once"
            raise ValueError(msg)
        position = np.full(self.n_students, -1, dtype=np.int32)
        position[chosen] = np.arange(len(chosen), dtype=np.int32)
        return RecordSet(
            n_students=len(chosen),
            birth_day=self.birth_day[chosen],
            attendance=take_students(self.attendance, position),
            grades=take_students(self.grades, position),
            transcript=take_students(self.transcript, position),
            discipline=take_students(self.discipline, position),
            enrollments=take_students(self.enrollments, position),
            calendars=self.calendars,
        )


E = TypeVar("E", AttendanceEvents, GradeEvents, TranscriptEvents, DisciplineEvents, EnrollmentEvents, ExitEvents)


def filter_events(events: E, keep: Bool) -> E:
    """The entries of `events` where `keep` [E] is true."""
    return type(events)(**{f.name: getattr(events, f.name)[keep] for f in fields(events)})


def take_students(events: E, position: Int32) -> E:
    """Renumber `student` by `position` [N]; entries whose new number is -1 are dropped."""
    renumbered = position[events.student]
    kept = filter_events(events, renumbered >= 0)
    columns = {f.name: getattr(kept, f.name) for f in fields(kept)}
    columns["student"] = renumbered[renumbered >= 0]
    return type(events)(**columns)


_COLUMN_DTYPES: Final = {
    **dict.fromkeys(("status", "subject", "severity", "action", "grade_level", "exit_code"), np.int8),
    **dict.fromkeys(("is_core", "is_objective", "is_major"), np.bool_),
    **dict.fromkeys(("fraction_absent", "periods_absent", "periods_scheduled"), np.float32),
    **dict.fromkeys(("score_pct", "points_weight", "final_pct", "action_days"), np.float32),
    **dict.fromkeys(("credits_attempted", "credits_earned"), np.float32),
}


def column_dtype(name: str) -> Any:
    """The dtype of an event column; every column not named otherwise is int32."""
    return _COLUMN_DTYPES.get(name, np.int32)


def empty_events(kind: type[E]) -> E:
    """An event set without entries, with the right dtypes."""
    columns: dict[str, Any] = {f.name: np.empty(0, dtype=column_dtype(f.name)) for f in fields(kind)}
    return kind(**columns)
