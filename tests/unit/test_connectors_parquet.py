"""Typed Parquet reads as CSV does; bad values and damaged files give their exact rejects."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edupulse_ml.connectors.folder import ChunkSize
from tests.fakes.import_files import GOOD, NOT_A_DATE, read, write


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
        ("calendar.parquet", 2, "date", f"column 'date' holds '2***', which is {NOT_A_DATE}"),
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
