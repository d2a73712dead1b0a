"""Each kind of bad row and file, with its exact reject; the good rows beside it survive."""

import os
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edupulse_ml.connectors.folder import ChunkSize, NoImportFolderError, read_folder
from edupulse_ml.connectors.rejects import RejectList
from edupulse_ml.connectors.schemas import canonical_schema
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.tables import ATTENDANCE_STATUSES, TABLES, TABLES_BY_NAME

RULES = ReadingRules(ZoneInfo("America/New_York"), datetime(2026, 11, 1, 12, tzinfo=UTC))

HEADERS = {
    "schools": "school_id,name,records_tardies",
    "calendar": "school_id,date,is_instructional,term_id,school_year,discipline_reported",
    "students": "student_id,person_id,birth_date",
    "enrollments": "student_id,school_id,grade_level,entry_date,exit_date,exit_code,last_attended_date,recorded_at",
    "attendance_records": "student_id,date,status,fraction_absent,periods_absent,periods_scheduled,recorded_at",
    "grades": "student_id,course_id,subject,is_core,term_id,assignment_id,category,due_date,submitted_at,score_pct,"
    "points_weight,posted_at,recorded_at",
    "transcript": "student_id,term_id,course_id,credits_attempted,credits_earned,final_pct,posted_at",
    "discipline_incidents": "student_id,incident_id,incident_date,behavior_code,is_objective,severity,is_major,action,"
    "action_start,action_days,recorded_at",
}
GOOD = {
    "schools": "HS1,North High,true",
    "calendar": "HS1,2025-09-02,true,2025-S1,2025,true",
    "students": "stu-1,per-1,2010-03-14",
    "enrollments": "stu-1,HS1,9,2025-09-02,2026-01-20,dropout,2026-01-10,2026-01-22T11:05:00-05:00",
    "attendance_records": "stu-1,2025-09-02,present,0,1,7,2025-09-02T15:10:00-04:00",
    "grades": "stu-1,ALG1,math,true,2025-S1,hw-1,homework,2025-09-12,2025-09-11T20:14:00Z,78.5,10,2025-09-16,",
    "transcript": "stu-1,2025-S1,ALG1,0.5,0.5,81,2026-01-30",
    "discipline_incidents": "stu-1,i-1,2025-10-06,FIGHT,true,4,true,OSS,2025-10-07,2,2025-10-06",
}


def read(folder: Path, **options):
    """All rows by table, and the rejects as tuples."""
    rejects = RejectList()
    tables, files = {}, {}
    for file in read_folder(folder, rules=RULES, rejects=rejects, **options):
        chunks = list(file.chunks)
        tables[file.table.name] = pa.concat_tables([canonical_schema(file.table).empty_table(), *chunks])
        files[file.table.name] = file
    return tables, [(r.file, r.line, r.column, r.reason) for r in rejects.rows], files


def write(folder: Path, table: str, *lines: str) -> None:
    (folder / f"{table}.csv").write_text("\n".join([HEADERS[table], *lines]) + "\n", encoding="utf-8")


def with_value(table: str, column: str, value: str) -> str:
    fields = GOOD[table].split(",")
    fields[HEADERS[table].split(",").index(column)] = value
    return ",".join(fields)


STATUSES = ", ".join(ATTENDANCE_STATUSES)
DATE = "not an ISO date (YYYY-MM-DD)"
MOMENT = "not an ISO 8601 moment (YYYY-MM-DDThh:mm:ss, with or without a zone)"

BAD_VALUES = [
    ("schools", "school_id", "", "column 'school_id' is empty"),
    ("schools", "school_id", "   ", "column 'school_id' is empty"),
    ("schools", "records_tardies", "maybe", "column 'records_tardies' holds 'm***', which is not true or false"),
    ("schools", "name", "n" * 201, "column 'name' holds 'n***', which is longer than 200 characters"),
    ("schools", "name", "a\tbc", "column 'name' holds 'a***', which is text with a control character"),
    ("calendar", "date", "2025-02-30", f"column 'date' holds '2***', which is {DATE}"),
    ("calendar", "date", "09/02/2025", f"column 'date' holds '0***', which is {DATE}"),
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


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_good_rows_have_canonical_types(tmp_path, table):
    write(tmp_path, table, GOOD[table])
    tables, rejects, _ = read(tmp_path)
    assert rejects == []
    assert tables[table].schema == canonical_schema(TABLES_BY_NAME[table])
    assert tables[table].num_rows == 1


def test_a_personal_value_is_shown_by_its_first_character_only(tmp_path):
    write(tmp_path, "students", f"secret-{'x' * 300},p,2010-01-01", "ok-1,p,2010-13-45", "ok-2,p,2010-01-01")
    _, rejects, _ = read(tmp_path)
    assert [reason for *_, reason in rejects] == [
        "column 'student_id' holds 's***', which is longer than 200 characters",
        f"column 'birth_date' holds '2***', which is {DATE}",
    ]


BAD_LINES = [
    (b"stu-2,per-2", "the line has 2 fields, the header has 3"),
    (b"stu-2,per-2,,", "the line has 4 fields, the header has 3"),
    (b'stu-2,"per-2,', "a quote is not closed on this line (a value may not hold a line break)"),
    (b"stu-\xff,per-2,", "the line is not UTF-8; save the file as CSV UTF-8"),
    (b"stu-2,p\x00er,", "the line holds a NUL or a carriage return inside a value"),
    (b"stu-2,p\rer,", "the line holds a NUL or a carriage return inside a value"),
    (b"stu-2," + b"x" * 2**17 + b",", "the line is longer than 128 KiB"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason[:25] for _, reason in BAD_LINES])
@pytest.mark.parametrize("csv_bytes", [64, 2**16, 2**23])
def test_a_bad_line_rejects_itself_only(tmp_path, line, reason, csv_bytes):
    good = [f"stu-{i},per-{i},2010-03-14".encode() for i in range(20)]
    lines = [HEADERS["students"].encode(), *good[:10], line, *good[10:]]
    (tmp_path / "students.csv").write_bytes(b"\n".join(lines))
    tables, rejects, files = read(tmp_path, chunk_size=ChunkSize(csv_bytes=csv_bytes))
    assert rejects == [("students.csv", 12, "", reason)]
    assert tables["students"]["line"].to_pylist() == [*range(2, 12), *range(13, 23)]
    assert tables["students"]["student_id"].to_pylist() == [f"stu-{i}" for i in range(20)]
    assert files["students"].tally.rows_read == 21


@pytest.mark.parametrize("csv_bytes", [1, 64, 2**23])
def test_empty_lines_are_no_rows_but_count_as_lines(tmp_path, csv_bytes):
    write(tmp_path, "students", "", "stu-1,,", "", "", "stu-2,,", "", "")
    tables, rejects, files = read(tmp_path, chunk_size=ChunkSize(csv_bytes=csv_bytes))
    assert rejects == []
    assert tables["students"]["line"].to_pylist() == [3, 6]
    assert files["students"].tally.rows_read == 2


def test_a_quote_does_not_join_lines(tmp_path):
    write(tmp_path, "students", 'stu-1,"per-1,', 'stu-2,per-2",', "stu-3,per-3,")
    tables, rejects, _ = read(tmp_path)
    assert [(line, reason) for _, line, _, reason in rejects] == [
        (2, "a quote is not closed on this line (a value may not hold a line break)")
    ]
    assert tables["students"]["person_id"].to_pylist() == ['per-2"', "per-3"]


def test_a_lone_carriage_return_and_an_empty_line_do_not_hide_each_other(tmp_path):
    (tmp_path / "students.csv").write_bytes(b"student_id,person_id,birth_date\na-1,p\ra-2,p,\n\na-3,,\n")
    tables, rejects, _ = read(tmp_path)
    assert [(line, column) for _, line, column, _ in rejects] == [(2, "")]
    assert tables["students"]["line"].to_pylist() == [4]


def test_windows_line_ends_a_byte_order_mark_and_quotes_are_read(tmp_path):
    text = '\ufeffschool_id , name,records_tardies\r\n"HS1","The ""Old"" School, North",\r\nHS2, South ,no\r\n'
    (tmp_path / "schools.csv").write_bytes(text.encode())
    tables, rejects, _ = read(tmp_path)
    assert rejects == []
    assert tables["schools"].drop_columns("line").to_pylist() == [
        {"school_id": "HS1", "name": 'The "Old" School, North', "records_tardies": True},
        {"school_id": "HS2", "name": "South", "records_tardies": False},
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


BAD_HEADERS = [
    (b"student_id,status\n", "date", "the file has no column 'date', which it must have"),
    (b"who\n", "student_id", "the file has no column 'student_id', 'date', 'status', which it must have"),
    (b"", "", "the file has no header line"),
    (b"date,date,status,student_id\n", "", "the header names the column 'date' twice"),
    ("student_id,date,status\n".encode("utf-16"), "", "the header is not UTF-8; save the file as CSV UTF-8"),
    (b'student_id,date,"status\n', "", "the header holds a quote that is not closed or a character that is not text"),
    (b"x" * 2**21, "", "the header line is longer than 128 KiB; is this a CSV file?"),
]


@pytest.mark.parametrize(("content", "column", "reason"), BAD_HEADERS, ids=[reason[:30] for *_, reason in BAD_HEADERS])
def test_a_bad_header_rejects_the_file_and_the_others_go_on(tmp_path, content, column, reason):
    (tmp_path / "attendance_records.csv").write_bytes(content)
    write(tmp_path, "schools", GOOD["schools"])
    tables, rejects, files = read(tmp_path)
    assert rejects == [("attendance_records.csv", 1, column, reason)]
    assert tables["schools"].num_rows == 1
    assert not files["attendance_records"].readable
    assert files["attendance_records"].tally.rows_rejected == 1


def test_columns_that_mean_nothing_are_ignored_and_named(tmp_path):
    (tmp_path / "schools.csv").write_text("remarks,school_id\nhello,HS1\n")
    tables, rejects, files = read(tmp_path)
    assert (rejects, files["schools"].ignored_columns) == ([], ("remarks",))
    assert tables["schools"]["school_id"].to_pylist() == ["HS1"]


def test_files_come_in_loading_order_and_progress_is_told(tmp_path):
    for table, row in GOOD.items():
        write(tmp_path, table, row)
    told = []
    _, rejects, files = read(tmp_path, on_progress=told.append)
    assert rejects == []
    assert list(files) == [table.name for table in TABLES]
    assert [(p.file_name, p.rows_read, p.share_read) for p in told] == [(f"{t.name}.csv", 1, 1.0) for t in TABLES]


@pytest.mark.parametrize("prepare", ["no folder", "empty folder", "two files"])
def test_a_folder_without_tables_is_refused(tmp_path, prepare):
    folder = tmp_path / "import"
    expected = "There is no folder"
    if prepare != "no folder":
        folder.mkdir()
        expected = "none of the expected files: schools.csv, calendar.csv, students.csv"
    if prepare == "two files":
        write(folder, "schools", GOOD["schools"])
        (folder / "schools.parquet").write_bytes(b"")
        expected = "holds schools.csv and schools.parquet, the same table twice"
    with pytest.raises(NoImportFolderError, match=expected):
        read(folder)


def as_parquet(folder: Path, table: str, columns: dict) -> None:
    pq.write_table(pa.table(columns), folder / f"{table}.parquet")


def test_typed_parquet_equals_csv(tmp_path):
    csv_folder, parquet_folder = tmp_path / "csv", tmp_path / "parquet"
    csv_folder.mkdir()
    parquet_folder.mkdir()
    write(csv_folder, "attendance_records", GOOD["attendance_records"], "17,2025-09-03,absent,,,,2025-09-03T10:00:00")
    as_parquet(
        parquet_folder,
        "attendance_records",
        {
            "student_id": pa.array(["stu-1", "17"]).dictionary_encode(),
            "date": np.array(["2025-09-02", "2025-09-03"], dtype="datetime64[ns]"),
            "status": pa.array(["present", "absent"], pa.large_string()),
            "fraction_absent": pa.array([0, None], pa.float32()),
            "periods_absent": [1.0, float("nan")],
            "periods_scheduled": pa.array([7, None], pa.int16()),
            "recorded_at": np.array(["2025-09-02T15:10", "2025-09-03T10:00"], dtype="datetime64[ms]"),
        },
    )
    from_csv, csv_rejects, _ = read(csv_folder)
    from_parquet, parquet_rejects, _ = read(parquet_folder)
    assert csv_rejects == parquet_rejects == []
    assert (
        from_csv["attendance_records"]
        .drop_columns("line")
        .equals(from_parquet["attendance_records"].drop_columns("line"))
    )
    assert from_parquet["attendance_records"]["line"].to_pylist() == [1, 2]


def test_numbers_that_are_identifiers_stay_themselves(tmp_path):
    as_parquet(
        tmp_path, "students", {"student_id": [17.0, 18.0], "birth_date": [date(2010, 1, 1)] * 2, "person_id": [5, 6]}
    )
    tables, rejects, _ = read(tmp_path)
    assert rejects == []
    assert tables["students"]["student_id"].to_pylist() == ["17", "18"]
    assert tables["students"]["person_id"].to_pylist() == ["5", "6"]


def test_bad_parquet_values_are_rejected(tmp_path):
    as_parquet(
        tmp_path,
        "calendar",
        {
            "school_id": ["HS1"] * 3,
            "date": np.array(["2025-09-02T00", "2025-09-03T08", "2025-09-04T00"], dtype="datetime64[s]"),
            "is_instructional": [1, 1, 2],
            "term_id": ["T"] * 3,
            "school_year": [2025.0, 2025.0, 2025.5],
        },
    )
    tables, rejects, _ = read(tmp_path)
    assert tables["calendar"]["line"].to_pylist() == [1]
    assert rejects == [
        ("calendar.parquet", 2, "date", f"column 'date' holds '2***', which is {DATE}"),
        (
            "calendar.parquet",
            3,
            "is_instructional",
            "column 'is_instructional' holds '***', which is not true or false",
        ),
    ]


def test_unreadable_parquet_is_rejected_as_a_whole(tmp_path):
    (tmp_path / "schools.parquet").write_bytes(b"PAR1 no")
    as_parquet(tmp_path, "students", {"student_id": [["a"], ["b"]]})
    _, rejects, _ = read(tmp_path)
    assert rejects == [
        ("schools.parquet", 1, "", "the file is not a readable Parquet file"),
        ("students.parquet", 1, "student_id", "column 'student_id' holds values of type list<element: string>"),
    ]


def test_damaged_parquet_keeps_the_rows_before_the_damage(tmp_path):
    path = tmp_path / "students.parquet"
    table = pa.table({"student_id": [f"stu-{os.urandom(8).hex()}" for _ in range(4000)]})
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(2).column(0)
    content = bytearray(path.read_bytes())
    content[group.data_page_offset : group.data_page_offset + 200] = b"\xff" * 200
    path.write_bytes(content)
    tables, rejects, files = read(tmp_path, chunk_size=ChunkSize(parquet_rows=500))
    assert rejects == [("students.parquet", 2001, "", "the file is damaged from this row on")]
    assert tables["students"].num_rows == 2000
    assert files["students"].tally.rows_read == 2001


def test_small_blocks_give_the_same_rows_as_large_ones(tmp_path):
    write(tmp_path, "students", *(f"stu-{i},per-{i % 7},2010-03-{i % 28 + 1:02}" for i in range(500)), "bad")
    small, small_rejects, _ = read(tmp_path, chunk_size=ChunkSize(csv_bytes=97))
    large, large_rejects, _ = read(tmp_path)
    assert small_rejects == large_rejects
    assert small["students"].equals(large["students"])
