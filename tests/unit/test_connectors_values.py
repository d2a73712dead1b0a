"""Each kind of bad value rejects its row only; aliases, defaults and moments of good ones."""

from datetime import UTC, datetime

import pytest

from edupulse_ml.core.tables import ATTENDANCE_STATUSES
from tests.fakes.import_files import GOOD, HEADERS, NOT_A_DATE, read, write


def with_value(table: str, column: str, value: str) -> str:
    fields = GOOD[table].split(",")
    fields[HEADERS[table].split(",").index(column)] = value
    return ",".join(fields)


STATUSES = ", ".join(ATTENDANCE_STATUSES)
MOMENT = "not an ISO 8601 moment (YYYY-MM-DDThh:mm:ss, with or without a zone)"

BAD_VALUES = [
    ("schools", "school_id", "", "column 'school_id' is empty"),
    ("schools", "school_id", "   ", "column 'school_id' is empty"),
    ("schools", "records_tardies", "maybe", "column 'records_tardies' holds 'm***', which is not true or false"),
    ("schools", "name", "n" * 201, "column 'name' holds 'n***', which is longer than 200 characters"),
    ("schools", "name", "a\tbc", "column 'name' holds 'a***', which is text with a control character"),
    ("calendar", "date", "2025-02-30", f"column 'date' holds '2***', which is {NOT_A_DATE}"),
    ("calendar", "date", "09/02/2025", f"column 'date' holds '0***', which is {NOT_A_DATE}"),
    ("calendar", "date", "1989-12-31", "column 'date' holds '1***', which is before 1990-01-01"),
    (
        "calendar",
        "date",
        "2028-11-02",
        "column 'date' holds '2***', which is after 2028-11-01, more than two years ahead",
    ),
    ("calendar", "school_year", "2025.5", "column 'school_year' holds '2***', which is not a whole number"),
    ("calendar", "school_year", "1899", "column 'school_year' holds '1***', which is not in the range 1990 to 2100"),
    ("calendar", "school_year", "9" * 30, "column 'school_year' holds '9***', which is not a whole number"),
    ("students", "birth_date", "2026-11-02", "column 'birth_date' holds '2***', which is in the future"),
    ("students", "birth_date", "1899-12-31", "column 'birth_date' holds '1***', which is before 1900-01-01"),
    ("enrollments", "grade_level", "14", "column 'grade_level' holds '***', which is not in the range 0 to 13"),
    ("enrollments", "exit_date", "2025-09-01", "column 'exit_date' is before entry_date"),
    ("enrollments", "exit_date", "", "column 'exit_code' is given without an exit_date"),
    ("enrollments", "last_attended_date", "2025-09-01", "column 'last_attended_date' is before entry_date"),
    ("enrollments", "last_attended_date", "2026-01-21", "column 'last_attended_date' is after exit_date"),
    ("attendance_records", "status", "Presnt", f"column 'status' holds 'P***', which is not one of {STATUSES}"),
    (
        "attendance_records",
        "fraction_absent",
        "1.01",
        "column 'fraction_absent' holds '1***', which is not in the range 0 to 1",
    ),
    ("attendance_records", "fraction_absent", "nan", "column 'fraction_absent' holds 'n***', which is not a number"),
    ("attendance_records", "fraction_absent", "0x1", "column 'fraction_absent' holds '0***', which is not a number"),
    (
        "attendance_records",
        "fraction_absent",
        "1e999",
        "column 'fraction_absent' holds '1***', which is not in the range 0 to 1",
    ),
    ("attendance_records", "periods_absent", "8", "column 'periods_absent' is more than periods_scheduled"),
    (
        "attendance_records",
        "recorded_at",
        "2025-08-31T10:00:00Z",
        "column 'recorded_at' is more than a day before date",
    ),
    ("attendance_records", "recorded_at", "yesterday", f"column 'recorded_at' holds 'y***', which is {MOMENT}"),
    (
        "attendance_records",
        "recorded_at",
        "2025-09-02T25:10:00Z",
        f"column 'recorded_at' holds '2***', which is {MOMENT}",
    ),
    ("grades", "submitted_at", "1980-01-01T00:00:00", "column 'submitted_at' holds '1***', which is before 1990-01-01"),
    (
        "grades",
        "posted_at",
        "2030-01-01",
        "column 'posted_at' holds '2***', which is after 2028-11-01, more than two years ahead",
    ),
    ("grades", "score_pct", "151", "column 'score_pct' holds '1***', which is not in the range 0 to 150"),
    ("transcript", "posted_at", "", "column 'posted_at' is empty"),
    ("discipline_incidents", "action_start", "2025-10-05", "column 'action_start' is before incident_date"),
    (
        "discipline_incidents",
        "recorded_at",
        "2025-10-04",
        "column 'recorded_at' is more than a day before incident_date",
    ),
    ("discipline_incidents", "severity", "6", "column 'severity' holds '***', which is not in the range 1 to 5"),
]


@pytest.mark.parametrize(("table", "column", "value", "reason"), BAD_VALUES)
def test_a_bad_value_rejects_its_row_only(tmp_path, table, column, value, reason):
    write(tmp_path, table, GOOD[table], with_value(table, column, value), GOOD[table])
    tables, rejects, files = read(tmp_path)
    rejected_column = reason.split("'")[1]
    assert rejects == [(f"{table}.csv", 3, rejected_column, reason)]
    assert tables[table]["line"].to_pylist() == [2, 4]
    assert (files[table].tally.rows_read, files[table].tally.rows_rejected) == (3, 1)


def test_a_personal_value_is_shown_by_its_first_character_only(tmp_path):
    write(tmp_path, "students", f"secret-{'x' * 300},p,2010-01-01", "ok-1,p,2010-13-45", "ok-2,p,2010-01-01")
    _, rejects, _ = read(tmp_path)
    assert [reason for *_, reason in rejects] == [
        "column 'student_id' holds 's***', which is longer than 200 characters",
        f"column 'birth_date' holds '2***', which is {NOT_A_DATE}",
    ]


def test_aliases_defaults_and_conclusions_are_applied(tmp_path):
    write(tmp_path, "attendance_records", "stu-1,2025-09-02,absent,,,,", "stu-1,2025-09-03,excused,,,,")
    write(tmp_path, "enrollments", "stu-1,HS1,9,2025-09-02,2026-01-20,,,")
    write(
        tmp_path,
        "grades",
        "stu-1,ALG1,math,1,T,hw-1,homework,2025-09-12,,50,,,2025-09-20T00:00:00Z",
        "stu-1,ALG1,math,1,T,hw-2,homework,2025-09-12,,50,,,",
        "stu-1,ALG1,math,1,T,hw-3,homework,2025-09-12,,,,,",
    )
    tables, rejects, _ = read(tmp_path)
    assert rejects == []
    assert tables["attendance_records"]["status"].to_pylist() == ["absent_unexcused", "absent_excused"]
    assert tables["enrollments"]["exit_code"].to_pylist() == ["unknown"]
    assert tables["grades"]["points_weight"].to_pylist() == [1.0, 1.0, 1.0]
    recorded, fourteen_days_later = datetime(2025, 9, 20, tzinfo=UTC), datetime(2025, 9, 26, 4, tzinfo=UTC)
    assert tables["grades"]["posted_at"].to_pylist() == [recorded, fourteen_days_later, None]


def test_moments_without_a_zone_are_local(tmp_path):
    write(
        tmp_path,
        "attendance_records",
        *(
            f"stu-1,2025-09-02,present,,,,{moment}"
            for moment in ("2025-09-02T15:10:00", "2025-09-02 15:10-04:00", "2025-09-02", "2025-12-02T15:10:00.5")
        ),
    )
    tables, rejects, _ = read(tmp_path)
    assert rejects == []
    assert tables["attendance_records"]["recorded_at"].to_pylist() == [
        datetime(2025, 9, 2, 19, 10, tzinfo=UTC),
        datetime(2025, 9, 2, 19, 10, tzinfo=UTC),
        datetime(2025, 9, 2, 4, tzinfo=UTC),
        datetime(2025, 12, 2, 20, 10, 0, 500_000, tzinfo=UTC),
    ]
