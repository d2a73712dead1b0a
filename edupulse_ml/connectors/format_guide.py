"""The column tables of docs/import-format.md, from the canonical tables themselves.

`render_column_table` is what the document holds between the headings of its tables; a test compares the two.
"""

from collections.abc import Mapping
from typing import Final

from edupulse_ml.connectors.values import EXPECTED
from edupulse_ml.core.tables import AUDIT_ATTRIBUTES, Column, Table

_RECORDED_AT: Final = "when the district's system knew this version of the row"
_STUDENT: Final = "the district's identifier of the student, as in `students`"
_SCHOOL: Final = "as in `schools`"
_AUDIT: Final = "optional, for the fairness audit only; never an input of a model"

MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "schools": {
        "school_id": "the district's identifier of the school",
        "name": "for display",
        "records_tardies": "whether the school records lateness; `false`: a week without `tardy` says nothing",
    },
    "calendar": {
        "school_id": _SCHOOL,
        "date": "one row per school and day; days that no row names are no school days",
        "is_instructional": "whether school is held",
        "term_id": "the term that the day belongs to, as in `grades` and `transcript`",
        "school_year": "the calendar year in which the school year starts",
        "discipline_reported": "whether incidents of that day, if any, are in the files; `true` makes no row mean no incident",
    },
    "students": {
        "student_id": "the district's identifier of the student; unique",
        "person_id": "equal for two student identifiers of one person; missing: the `student_id`",
        "birth_date": "for being over the usual age of the grade",
        **dict.fromkeys(AUDIT_ATTRIBUTES, _AUDIT),
    },
    "enrollments": {
        "student_id": _STUDENT,
        "school_id": _SCHOOL,
        "grade_level": "0 (kindergarten) to 12, 13 for higher education",
        "entry_date": "first day of the enrolment",
        "exit_date": "first day of no longer being enrolled; missing while open",
        "exit_code": "why it ended; needs `exit_date`; an `exit_date` without a code counts as `unknown`",
        "last_attended_date": "last day in class; not after `exit_date`",
        "recorded_at": _RECORDED_AT,
    },
    "attendance_records": {
        "student_id": _STUDENT,
        "date": "the school day",
        "status": "an excused absence is an absence",
        "fraction_absent": "share of the day missed; missing: 1 for an absence, else 0",
        "periods_absent": "class periods missed; at most `periods_scheduled`",
        "periods_scheduled": "class periods of the student's day",
        "recorded_at": f"{_RECORDED_AT}; at most a day before `date`",
    },
    "grades": {
        "student_id": _STUDENT,
        "course_id": "the course",
        "subject": "the field of the course",
        "is_core": "whether the course counts for the core credits",
        "term_id": "the term, as in `calendar`",
        "assignment_id": "unique within course and term",
        "category": "the kind of work",
        "due_date": "when it was due",
        "submitted_at": "when it was handed in; missing: not handed in",
        "score_pct": "per cent of the points; missing: no score",
        "points_weight": "weight among the assignments of the course",
        "posted_at": "when the score could be seen; a score without it counts from `recorded_at`, else 14 days after `due_date`",
        "recorded_at": f"{_RECORDED_AT}; for work not yet marked, when it was assigned",
    },
    "transcript": {
        "student_id": _STUDENT,
        "term_id": "the closed term, as in `calendar`",
        "course_id": "the course",
        "is_core": "whether the course counts for the core credits",
        "credits_attempted": "credits the course is worth",
        "credits_earned": "credits received",
        "final_pct": "final mark in per cent",
        "posted_at": "when the result was published",
        "recorded_at": _RECORDED_AT,
    },
    "discipline_incidents": {
        "student_id": _STUDENT,
        "incident_id": "one row per incident and student",
        "incident_date": "when it happened",
        "behavior_code": "the district's code of the behaviour",
        "is_objective": "behaviour that needs no judgement to name: fighting, weapon, drugs or alcohol, theft, threat, vandalism",
        "severity": "1 (slight) to 5 (gravest)",
        "is_major": "an office referral of the major kind",
        "action": "the gravest consequence; `ISS` and `OSS` are suspensions in and out of school",
        "action_start": "first day of the action; not before `incident_date`",
        "action_days": "school days it lasts",
        "recorded_at": f"{_RECORDED_AT}; at most a day before `incident_date`",
    },
}


def render_column_table(table: Table) -> str:
    """A Markdown table: one row per column, with what it must hold, what it means, and its default."""
    lines = ["| column | needed | holds | meaning | where missing |", "| --- | --- | --- | --- | --- |"]
    for column in table.columns:
        needed = "yes" if column.required else ""
        meaning = MEANINGS[table.name][column.name]
        lines.append(f"| `{column.name}` | {needed} | {_holds(column)} | {meaning} | {_missing(table, column)} |")
    return "\n".join(lines)


def _holds(column: Column) -> str:
    if column.choices:
        listed = ", ".join(f"`{choice}`" for choice in column.choices)
        aliases = "".join(f"; `{alias}` is read as `{meant}`" for alias, meant in column.aliases)
        return f"one of {listed}{aliases}"
    if column.kind in ("integer", "number") and column.minimum is not None and column.maximum is not None:
        return f"{EXPECTED[column.kind]}, {column.minimum:g} to {column.maximum:g}"
    return EXPECTED[column.kind]


def _missing(table: Table, column: Column) -> str:
    if column.required:
        return "the row is rejected"
    if column.default is not None:
        return f"`{column.default}`".lower()
    if column.name == "recorded_at":
        return "see “What was known when”" if table.lag_days == 0 else f"`{table.valid_date}` + {table.lag_days} d"
    return "not known"
