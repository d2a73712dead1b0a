"""The canonical record tables: columns, types, vocabularies and natural keys.

Connectors validate files against these, storage keeps them, the generator writes them. One file of an import folder
is one table, named `<table>.csv` or `<table>.parquet`, with these column names in its header.
"""

from dataclasses import dataclass
from typing import Final, Literal

ColumnKind = Literal["text", "date", "moment", "boolean", "integer", "number"]

MAX_TEXT_LENGTH: Final = 200
"""Most characters of a text column, ids included. Far above any identifier, far below what an index row can hold."""

ATTENDANCE_STATUSES: Final = (
    "present",
    "absent_excused",
    "absent_unexcused",
    "tardy",
    "suspended_out",
    "remote_present",
)
"""Position = code in arrays. A file's plain `absent` means `absent_unexcused`, `excused` means `absent_excused`."""
ATTENDANCE_STATUS_ALIASES: Final = {"absent": "absent_unexcused", "excused": "absent_excused"}
ABSENT_STATUSES: Final = ("absent_excused", "absent_unexcused", "suspended_out")

SUBJECTS: Final = ("math", "ela", "science", "social", "other")
GRADE_CATEGORIES: Final = ("test", "quiz", "homework", "classwork", "project", "exam", "term_final")
DISCIPLINE_ACTIONS: Final = ("none", "conference", "detention", "ISS", "OSS", "expulsion")

EXIT_CODES: Final = (
    "dropout",
    "transfer_out",
    "graduated",
    "ged_transfer",
    "deceased",
    "long_illness",
    "emigrated",
    "year_end",
    "changed_school",
    "failed",
    "unknown",
)
"""`year_end` closes a year's enrolment, `changed_school` a move inside the district; `failed` is an unsuccessful end
of a course of study that was attended to its end (OULAD), which is not dropping out."""

AUDIT_ATTRIBUTES: Final = (
    "sex",
    "race_ethnicity",
    "english_learner",
    "special_education",
    "economically_disadvantaged",
    "homeless",
    "foster_care",
)
"""Optional columns of `students`. Kept in a table of their own, read by the fairness audit only, never an input."""


@dataclass(frozen=True)
class Column:
    """One column of a record file. `minimum` and `maximum` are inclusive; `choices` closes the vocabulary."""

    name: str
    kind: ColumnKind
    required: bool = False
    choices: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: str | float | bool | None = None
    personal: bool = False


@dataclass(frozen=True)
class Table:
    """One record table. `valid_date` names the column that says when the thing happened; where a file has no
    `recorded_at`, a row counts as known `lag_days` after it (sources.md 2.0). `bitemporal` tables keep every
    version of a row; the others keep the latest.
    """

    name: str
    columns: tuple[Column, ...]
    natural_key: tuple[str, ...]
    bitemporal: bool = False
    valid_date: str | None = None
    lag_days: int = 0

    @property
    def required_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)


def _student() -> Column:
    return Column("student_id", "text", required=True, personal=True)


_RECORDED_AT = Column("recorded_at", "moment")

SCHOOLS: Final = Table(
    "schools",
    (
        Column("school_id", "text", required=True),
        Column("name", "text"),
        Column("records_tardies", "boolean", default=True),
    ),
    natural_key=("school_id",),
)
CALENDAR: Final = Table(
    "calendar",
    (
        Column("school_id", "text", required=True),
        Column("date", "date", required=True),
        Column("is_instructional", "boolean", required=True),
        Column("term_id", "text", required=True),
        Column("school_year", "integer", required=True, minimum=1990, maximum=2100),
        Column("discipline_reported", "boolean", default=True),
    ),
    natural_key=("school_id", "date"),
)
STUDENTS: Final = Table(
    "students",
    (
        _student(),
        Column("person_id", "text", personal=True),
        Column("birth_date", "date", personal=True),
        *(Column(name, "text", personal=True) for name in AUDIT_ATTRIBUTES),
    ),
    natural_key=("student_id",),
)
ENROLLMENTS: Final = Table(
    "enrollments",
    (
        _student(),
        Column("school_id", "text", required=True),
        Column("grade_level", "integer", required=True, minimum=0, maximum=13),
        Column("entry_date", "date", required=True),
        Column("exit_date", "date"),
        Column("exit_code", "text", choices=EXIT_CODES),
        Column("last_attended_date", "date"),
        _RECORDED_AT,
    ),
    natural_key=("student_id", "school_id", "entry_date"),
    bitemporal=True,
    valid_date="entry_date",
)
ATTENDANCE: Final = Table(
    "attendance_records",
    (
        _student(),
        Column("date", "date", required=True),
        Column(
            "status",
            "text",
            required=True,
            choices=ATTENDANCE_STATUSES,
            aliases=tuple(ATTENDANCE_STATUS_ALIASES.items()),
        ),
        Column("fraction_absent", "number", minimum=0, maximum=1),
        Column("periods_absent", "number", minimum=0, maximum=24),
        Column("periods_scheduled", "number", minimum=0, maximum=24),
        _RECORDED_AT,
    ),
    natural_key=("student_id", "date"),
    bitemporal=True,
    valid_date="date",
    lag_days=1,
)
GRADES: Final = Table(
    "grades",
    (
        _student(),
        Column("course_id", "text", required=True),
        Column("subject", "text", required=True, choices=SUBJECTS),
        Column("is_core", "boolean", required=True),
        Column("term_id", "text", required=True),
        Column("assignment_id", "text", required=True),
        Column("category", "text", required=True, choices=GRADE_CATEGORIES),
        Column("due_date", "date", required=True),
        Column("submitted_at", "moment"),
        Column("score_pct", "number", minimum=0, maximum=150),
        Column("points_weight", "number", minimum=0, maximum=10000, default=1.0),
        Column("posted_at", "moment"),
        _RECORDED_AT,
    ),
    natural_key=("student_id", "course_id", "term_id", "assignment_id"),
    bitemporal=True,
    valid_date="due_date",
    lag_days=14,
)
TRANSCRIPT: Final = Table(
    "transcript",
    (
        _student(),
        Column("term_id", "text", required=True),
        Column("course_id", "text", required=True),
        Column("is_core", "boolean", default=False),
        Column("credits_attempted", "number", required=True, minimum=0, maximum=20),
        Column("credits_earned", "number", required=True, minimum=0, maximum=20),
        Column("final_pct", "number", minimum=0, maximum=150),
        Column("posted_at", "moment", required=True),
        _RECORDED_AT,
    ),
    natural_key=("student_id", "term_id", "course_id"),
    bitemporal=True,
    valid_date="posted_at",
)
DISCIPLINE: Final = Table(
    "discipline_incidents",
    (
        _student(),
        Column("incident_id", "text", required=True),
        Column("incident_date", "date", required=True),
        Column("behavior_code", "text", required=True),
        Column("is_objective", "boolean", required=True),
        Column("severity", "integer", required=True, minimum=1, maximum=5),
        Column("is_major", "boolean", required=True),
        Column("action", "text", required=True, choices=DISCIPLINE_ACTIONS),
        Column("action_start", "date"),
        Column("action_days", "number", minimum=0, maximum=365),
        _RECORDED_AT,
    ),
    natural_key=("student_id", "incident_id"),
    bitemporal=True,
    valid_date="incident_date",
    lag_days=3,
)

TABLES: Final[tuple[Table, ...]] = (
    SCHOOLS,
    CALENDAR,
    STUDENTS,
    ENROLLMENTS,
    ATTENDANCE,
    GRADES,
    TRANSCRIPT,
    DISCIPLINE,
)
"""In the order in which they must be loaded: what is referred to comes first."""

TABLES_BY_NAME: Final[dict[str, Table]] = {table.name: table for table in TABLES}
