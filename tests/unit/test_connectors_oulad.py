"""The OULAD mapping on a handful of students written out here."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from edupulse_ml.connectors.oulad import load_oulad, read_oulad
from edupulse_ml.connectors.oulad_files import OuladFiles, OuladFilesError, day_zero
from edupulse_ml.connectors.oulad_study import Omissions, study_periods
from edupulse_ml.connectors.schemas import canonical_schema
from edupulse_ml.core.tables import EXIT_CODES

RUN = {"code_module": "AAA", "code_presentation": "2013J"}
START = date(2013, 10, 7)

# student: registered, unregistered, final result
STUDENTS = {
    11: (-100, None, "Pass"),
    12: (-100, 10, "Withdrawn"),
    13: (-100, None, "Withdrawn"),  # without a date
    14: (-100, 0, "Withdrawn"),  # never started
    15: (4, None, "Fail"),  # came late
    16: (None, 12, "Fail"),  # unregistered, but failed
    17: (6, 5, "Withdrawn"),  # left before coming
}
ASSESSMENTS = [(1, "TMA", 3, 40.0), (2, "CMA", 9, 10.0), (3, "TMA", 15, 50.0), (4, "Exam", None, 100.0)]
# assessment, student, submitted, banked, score
SUBMISSIONS = [
    (1, 11, 2, 0, 80.0),
    (2, 11, -1, 1, 70.0),  # banked
    (1, 12, 3, 0, 50.0),  # posted after unregistration
    (2, 12, 11, 0, 60.0),  # after unregistration
    (1, 15, 6, 0, None),  # due before entry, handed in, never marked
    (1, 14, 1, 0, 99.0),  # never started
]
# student, day, clicks
CLICKS = [
    (11, -3, 50),
    (11, 0, 4),
    (11, 0, 4),  # a repeated row is real
    (11, 1, 1),
    (11, 8, 5),
    (12, 2, 9),
    (12, 10, 7),  # on the day of unregistration
    (12, 12, 7),
    (14, 1, 100),
    (15, 3, 9),  # before entry
    (15, 19, 2),
    (15, 20, 2),  # after the module's end
]


def columns(rows, *names):
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def course(n):
    return {name: [value] * n for name, value in RUN.items()}


def tables():
    info = [
        (s, "F", ["10-20", None, "90-100%"][s % 3], "Y" if s == 12 else "N", r) for s, (_, _, r) in STUDENTS.items()
    ]
    registration = [(s, a, b) for s, (a, b, _) in STUDENTS.items()]
    return {
        "courses": course(1) | {"module_presentation_length": [20]},
        "studentInfo": course(7) | columns(info, "id_student", "gender", "imd_band", "disability", "final_result"),
        "studentRegistration": course(7)
        | columns(registration, "id_student", "date_registration", "date_unregistration"),
        "assessments": course(4) | columns(ASSESSMENTS, "id_assessment", "assessment_type", "date", "weight"),
        "studentAssessment": columns(
            SUBMISSIONS, "id_assessment", "id_student", "date_submitted", "is_banked", "score"
        ),
        "studentVle": course(len(CLICKS))
        | {"id_site": [1] * len(CLICKS)}
        | columns(CLICKS, "id_student", "date", "sum_click"),
    }


@pytest.fixture
def oulad(tmp_path):
    for name, content in tables().items():
        pq.write_table(pa.table(content), tmp_path / f"{name}.parquet")
    return tmp_path


def read(folder):
    found = {}
    for file in read_oulad(folder, presentations=["2013J"]):
        chunks = list(file.chunks)
        assert all(chunk.schema == canonical_schema(file.table) for chunk in chunks)
        found[file.table.name] = [row for chunk in chunks for row in chunk.to_pylist()]
        assert file.tally.rows_read == len(found[file.table.name])
        assert [row["line"] for row in found[file.table.name]] == list(range(1, file.tally.rows_read + 1))
    return found


def day(offset):
    return date.fromordinal(START.toordinal() + offset)


def noon(offset):
    return datetime.combine(day(offset), datetime.min.time(), UTC).replace(hour=12)


@pytest.mark.parametrize(
    ("presentation", "expected"),
    [("2013B", date(2013, 2, 4)), ("2013J", START), ("2014B", date(2014, 2, 3)), ("2014J", date(2014, 10, 6))],
)
def test_day_zero_is_the_first_monday(presentation, expected):
    assert day_zero(presentation) == expected


@pytest.mark.parametrize("name", ["2013X", "13J", "2013", "abcdJ"])
def test_other_names_are_no_presentations(name):
    with pytest.raises(OuladFilesError, match="is no presentation"):
        day_zero(name)


def test_enrolments_begin_at_registration_and_end_at_unregistration(oulad):
    rows = read(oulad)["enrollments"]
    found = {
        row["student_id"]: (row["entry_date"], row["exit_date"], row["exit_code"], row["last_attended_date"])
        for row in rows
    }
    assert found == {
        "AAA-2013J-11": (day(0), day(20), "graduated", day(19)),
        "AAA-2013J-12": (day(0), day(10), "dropout", day(10)),
        "AAA-2013J-15": (day(4), day(20), "failed", day(19)),
        "AAA-2013J-16": (day(0), day(12), "failed", day(12)),
    }
    assert {(r["school_id"], r["grade_level"], r["recorded_at"]) for r in rows} == {("AAA-2013J", 13, None)}


def test_registrations_that_are_no_study_are_counted(oulad):
    files = OuladFiles(oulad)
    (run,) = files.runs(["2013J"])
    assert study_periods(run, files.registrations(run))[1] == Omissions(undated_withdrawals=1, never_started=2)


def test_a_click_makes_a_day_present_and_its_number_the_intensity(oulad):
    rows = read(oulad)["attendance_records"]
    present = {
        (row["student_id"][-2:], (row["date"] - START).days): row["periods_absent"]
        for row in rows
        if row["status"] == "present"
    }
    # week 0: 8 + 1 + 9 clicks on 3 active days, mean 6; later weeks: one active day each
    assert present == {("11", 0): 0, ("11", 1): 8, ("12", 2): 0, ("11", 8): 0, ("15", 19): 0}
    for row in rows:
        absent = row["status"] == "absent_unexcused"
        assert row["fraction_absent"] == (1.0 if absent else 0.0)
        assert row["periods_scheduled"] == (None if absent else 10)
        assert row["recorded_at"].date() == row["date"]
    days = {name: sum(row["student_id"].endswith(name) for row in rows) for name in ("11", "12", "15", "16")}
    assert days == {"11": 20, "12": 10, "15": 16, "16": 12}
    assert len(rows) == sum(days.values())


def test_coursework_is_due_from_those_who_studied_then(oulad):
    rows = read(oulad)["grades"]
    found = {
        (row["student_id"][-2:], row["assignment_id"]): (row["submitted_at"], row["score_pct"], row["posted_at"])
        for row in rows
    }
    nothing = (None, None, None)
    assert found == {
        ("11", "1"): (noon(2), 80.0, noon(16)),
        ("11", "3"): nothing,
        ("12", "1"): (noon(3), None, None),
        ("12", "2"): nothing,
        ("15", "1"): (noon(6), None, None),
        ("15", "2"): nothing,
        ("15", "3"): nothing,
        ("16", "1"): nothing,
        ("16", "2"): nothing,
    }
    first = rows[0]
    assert (first["course_id"], first["subject"], first["is_core"], first["term_id"]) == (
        "AAA",
        "social",
        True,
        "2013J",
    )
    assert {row["assignment_id"]: (row["category"], row["points_weight"], row["due_date"]) for row in rows} == {
        "1": ("homework", 40.0, day(3)),
        "2": ("quiz", 10.0, day(9)),
        "3": ("homework", 50.0, day(15)),
    }
    assert {row["student_id"][-2:]: row["recorded_at"] for row in rows} == {
        "11": noon(0),
        "12": noon(0),
        "15": noon(4),
        "16": noon(0),
    }


def test_coursework_that_carries_no_weight_weighs_the_same(oulad):
    content = tables()["assessments"] | {"weight": [0.0, 0.0, 0.0, 100.0]}
    pq.write_table(pa.table(content), oulad / "assessments.parquet")
    assert {row["points_weight"] for row in read(oulad)["grades"]} == {1.0}


def test_schools_and_calendar_are_the_module(oulad):
    found = read(oulad)
    assert [(r["school_id"], r["records_tardies"]) for r in found["schools"]] == [("AAA-2013J", False)]
    assert [row["date"] for row in found["calendar"]] == [day(i) for i in range(20)]
    assert {
        (r["is_instructional"], r["term_id"], r["school_year"], r["discipline_reported"]) for r in found["calendar"]
    } == {(True, "2013J", 2013, False)}


def test_demographics_are_audit_attributes_only(oulad):
    rows = {row["person_id"]: row for row in read(oulad)["students"]}
    assert set(rows) == {"11", "12", "15", "16"}
    assert (rows["12"]["sex"], rows["12"]["special_education"], rows["11"]["special_education"]) == ("F", "yes", "no")
    assert [rows[n]["economically_disadvantaged"] for n in ("12", "15", "16")] == ["10-20%", "10-20%", None]
    assert rows["11"]["birth_date"] is None


def test_original_csv_files_give_the_same(oulad, tmp_path_factory):
    folder = tmp_path_factory.mktemp("csv")
    for name, content in tables().items():
        csv.write_csv(pa.table(content), folder / f"{name}.csv")
    text = (folder / "studentInfo.csv").read_text().replace(',"F",,', ',"F","?",')
    (folder / "studentInfo.csv").write_text(text)
    assert read(folder) == read(oulad)


def test_records_in_memory(oulad):
    found = load_oulad(oulad, ["2013J"])
    assert found.student_ids == ("AAA-2013J-11", "AAA-2013J-12", "AAA-2013J-15", "AAA-2013J-16")
    assert found.person_ids == ("11", "12", "15", "16")
    assert found.records.attendance.known_day.tolist() == found.records.attendance.day.tolist()
    closed = found.exits.exit_code >= 0
    assert [EXIT_CODES[code] for code in found.exits.exit_code[closed]] == ["graduated", "dropout", "failed", "failed"]
    assert np.array_equal(found.exits.known_day[closed], found.exits.exit_day[closed])
    assert (found.exits.known_day[~closed] == found.exits.entry_day[~closed]).all()


def test_an_unknown_presentation_names_the_available_ones(oulad):
    with pytest.raises(OuladFilesError, match=r"asked for: 2015J; available here: 2013J\."):
        read_oulad(oulad, presentations=["2013J", "2015J"])
    with pytest.raises(OuladFilesError, match="asked for: none; available here: 2013J"):
        read_oulad(oulad, presentations=[])


def test_missing_and_damaged_files_are_named(oulad):
    (oulad / "studentVle.parquet").write_bytes(b"no")
    with pytest.raises(OuladFilesError, match=r"studentVle\.parquet in .* cannot be read"):
        read(oulad)
    (oulad / "studentVle.parquet").unlink()
    (oulad / "courses.parquet").unlink()
    with pytest.raises(OuladFilesError, match="lacks courses, studentVle"):
        read_oulad(oulad, presentations=["2013J"])


def test_files_of_different_downloads_are_refused(oulad):
    content = pa.table(tables()["studentInfo"]).slice(1)
    pq.write_table(content, oulad / "studentInfo.parquet")
    with pytest.raises(OuladFilesError, match="do not name the same students in AAA-2013J"):
        read(oulad)
