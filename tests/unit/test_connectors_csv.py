"""Each kind of bad line and header, with its exact reject; the good lines and files beside it survive."""

import pytest

from edupulse_ml.connectors.folder import ChunkSize
from tests.fakes.import_files import GOOD, HEADERS, read, write

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


def test_small_blocks_give_the_same_rows_as_large_ones(tmp_path):
    write(tmp_path, "students", *(f"stu-{i},per-{i % 7},2010-03-{i % 28 + 1:02}" for i in range(500)), "bad")
    small, small_rejects, _ = read(tmp_path, chunk_size=ChunkSize(csv_bytes=97))
    large, large_rejects, _ = read(tmp_path)
    assert small_rejects == large_rejects
    assert small["students"].equals(large["students"])
