"""Canonical tables in memory: codes, days, and the versions of a record."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from edupulse_ml.connectors.arrays import UnresolvedReferenceError
from edupulse_ml.connectors.memory import records_from_tables
from edupulse_ml.connectors.schemas import canonical_schema
from edupulse_ml.core.tables import EXIT_CODES, TABLES_BY_NAME
from edupulse_ml.core.weeks import NEVER, day_number

ZONE = ZoneInfo("America/New_York")
MONDAY = date(2025, 9, 1)


def day(month: int, number: int, year: int = 2025) -> int:
    return day_number(date(year, month, number))


def moment(month: int, number: int, hour: int = 16, year: int = 2025) -> datetime:
    return datetime(year, month, number, hour, tzinfo=UTC)


def table(name: str, *rows: dict) -> pa.Table:
    """Rows with the columns named only."""
    fields = {field.name: field for field in canonical_schema(TABLES_BY_NAME[name])}
    named = sorted({column for row in rows for column in row})
    schema = pa.schema([fields[column] for column in named])
    return pa.Table.from_pylist([{c: row.get(c) for c in named} for row in rows], schema=schema)


BASE = {
    "schools": table("schools", {"school_id": "HS2"}, {"school_id": "HS1", "records_tardies": False}),
    "students": table("students", {"student_id": "b", "person_id": "p"}, {"student_id": "a", "birth_date": MONDAY}),
}


def attendance(*rows: tuple) -> pa.Table:
    names = ("student_id", "date", "status", "recorded_at")
    return table("attendance_records", *(dict(zip(names, row, strict=True)) for row in rows))


def versions(events, *names: str) -> list[tuple]:
    columns = [getattr(events, name).tolist() for name in (*names, "known_day", "superseded_day")]
    return sorted(zip(*columns, strict=True))


def test_positions_follow_students_and_sorted_schools():
    found = records_from_tables(BASE, zone=ZONE)
    assert found.student_ids == ("b", "a")
    assert found.person_ids == ("p", "a")
    assert found.school_ids == ("HS1", "HS2")
    assert found.records.birth_day.tolist() == [NEVER, day_number(MONDAY)]
    assert found.records.calendars.records_tardies.tolist() == [False, True]
    assert found.records.calendars.is_instructional.shape == (2, 0)


def test_a_row_without_recorded_at_is_known_after_its_tables_lag():
    grade = {"student_id": "a", "course_id": "C", "subject": "ela", "is_core": True, "term_id": "T"}
    grade |= {"assignment_id": "1", "category": "quiz", "due_date": MONDAY, "score_pct": 80.0}
    incident = {"student_id": "a", "incident_id": "1", "incident_date": MONDAY, "behavior_code": "X"}
    incident |= {"is_objective": True, "severity": 3, "is_major": False, "action": "OSS"}
    result = {"student_id": "a", "term_id": "T", "course_id": "C", "credits_attempted": 1.0, "credits_earned": 0.5}
    tables = BASE | {
        "attendance_records": attendance(("a", MONDAY, "tardy", None)),
        "grades": table("grades", grade),
        "discipline_incidents": table("discipline_incidents", incident),
        "transcript": table("transcript", result | {"posted_at": moment(9, 10, hour=2)}),
    }
    records = records_from_tables(tables, zone=ZONE).records
    assert records.attendance.known_day.tolist() == [day(9, 2)]
    assert records.grades.known_day.tolist() == records.grades.posted_day.tolist() == [day(9, 15)]
    assert records.grades.submitted_day.tolist() == [NEVER]
    assert records.grades.points_weight.tolist() == [1.0]
    assert records.discipline.known_day.tolist() == [day(9, 4)]
    assert np.isnan(records.discipline.action_days).all()
    assert records.transcript.posted_day.tolist() == records.transcript.known_day.tolist() == [day(9, 9)]
    assert records.transcript.is_core.tolist() == [False]


def test_versions_are_chained_by_when_they_were_recorded():
    found = attendance(
        ("a", MONDAY, "tardy", moment(9, 9)),
        ("a", MONDAY, "absent_excused", moment(9, 3)),
        ("b", MONDAY, "present", moment(9, 1)),
        ("a", MONDAY, "present", moment(9, 2)),
    )
    events = records_from_tables(BASE | {"attendance_records": found}, zone=ZONE).records.attendance
    assert versions(events, "student", "status") == [
        (0, 0, day(9, 1), NEVER),
        (1, 0, day(9, 2), day(9, 3)),
        (1, 1, day(9, 3), day(9, 9)),
        (1, 3, day(9, 9), NEVER),
    ]


def test_a_repeated_version_is_no_version_and_an_old_value_may_return():
    found = attendance(
        ("a", MONDAY, "present", moment(9, 1)),
        ("a", MONDAY, "present", moment(9, 2)),
        ("a", MONDAY, "tardy", moment(9, 3)),
        ("a", MONDAY, "suspended_out", moment(9, 3)),
        ("a", MONDAY, "present", moment(9, 4)),
    )
    events = records_from_tables(BASE | {"attendance_records": found}, zone=ZONE).records.attendance
    assert versions(events, "status") == [
        (0, day(9, 1), day(9, 3)),
        (0, day(9, 4), NEVER),
        (3, day(9, 3), day(9, 4)),
    ]


def enrollment(**values) -> dict:
    return {"student_id": "a", "school_id": "HS1", "grade_level": 9, "entry_date": MONDAY} | values


def test_a_closed_enrolment_without_recorded_at_was_open_before():
    closed = enrollment(exit_date=date(2025, 11, 3), exit_code="dropout", last_attended_date=date(2025, 10, 17))
    found = records_from_tables(BASE | {"enrollments": table("enrollments", closed)}, zone=ZONE)
    assert versions(found.records.enrollments, "school", "entry_day", "exit_day") == [
        (0, day(9, 1), day(11, 3), day(11, 3), NEVER),
        (0, day(9, 1), NEVER, day(9, 1), day(11, 3)),
    ]
    dropout = EXIT_CODES.index("dropout")
    assert versions(found.exits, "exit_code", "exit_day", "last_attended_day") == [
        (-1, NEVER, NEVER, day(9, 1), day(11, 3)),
        (dropout, day(11, 3), day(10, 17), day(11, 3), NEVER),
    ]


def test_an_enrolment_that_ended_on_its_first_day_has_one_version():
    closed = enrollment(exit_date=MONDAY)
    found = records_from_tables(BASE | {"enrollments": table("enrollments", closed)}, zone=ZONE)
    assert versions(found.exits, "exit_code", "exit_day") == [
        (EXIT_CODES.index("unknown"), day(9, 1), day(9, 1), NEVER)
    ]


def test_recorded_enrolment_versions_stay_as_they_are():
    rows = table(
        "enrollments",
        enrollment(exit_date=date(2025, 11, 3), exit_code="dropout", recorded_at=moment(11, 20)),
        enrollment(recorded_at=moment(8, 20)),
    )
    found = records_from_tables(BASE | {"enrollments": rows}, zone=ZONE)
    assert versions(found.records.enrollments, "exit_day") == [
        (day(11, 3), day(11, 20), NEVER),
        (NEVER, day(8, 20), day(11, 20)),
    ]


def test_calendars_are_dense_from_a_monday():
    rows = [
        {"school_id": "HS1", "date": date(2025, 9, 3), "is_instructional": True, "term_id": "T2", "school_year": 2025},
        {"school_id": "HS2", "date": date(2025, 9, 5), "is_instructional": False, "term_id": "T1", "school_year": 2025},
    ]
    rows[1]["discipline_reported"] = False
    calendars = records_from_tables(BASE | {"calendar": table("calendar", *rows)}, zone=ZONE).records.calendars
    assert calendars.first_day == day(9, 1)
    assert calendars.is_instructional.tolist() == [[False, False, True, False, False], [False] * 5]
    assert calendars.term.tolist() == [[-1, -1, 1, -1, -1], [-1, -1, -1, -1, 0]]
    assert calendars.school_year.tolist() == [[-1, -1, 2025, -1, -1], [-1, -1, -1, -1, 2025]]
    assert calendars.discipline_reported.tolist() == [[False, False, True, False, False], [False] * 5]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"attendance_records": attendance(("zz", MONDAY, "tardy", None))}, "1 rows name a student"),
        ({"enrollments": table("enrollments", enrollment(school_id="HS9"))}, "1 rows name a school"),
        ({"enrollments": table("enrollments", {"student_id": "a"})}, "enrollments lacks a value of 'school_id'"),
        ({"students": table("students", {"student_id": "a"}, {"student_id": "a"})}, "names a student_id twice"),
    ],
)
def test_references_must_resolve(tables, message):
    with pytest.raises(UnresolvedReferenceError, match=message):
        records_from_tables(BASE | tables, zone=ZONE)
