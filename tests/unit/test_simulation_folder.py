"""The folder that is written: same bytes for the same plan, whole or not at all."""

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from edupulse_ml.connectors.feedback_file import read_feedback
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.tables import TABLES
from edupulse_ml.simulation import folder as folder_module
from edupulse_ml.simulation.folder import SUPPORT_FILE, FolderNotEmptyError, write_folder
from edupulse_ml.simulation.settings import DistrictPlan

PLAN = DistrictPlan(students=120, years=1, seed=21)


def _digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_plan_gives_the_same_bytes_and_another_seed_others(tmp_path):
    rows = write_folder(PLAN, tmp_path / "a")
    assert write_folder(PLAN, tmp_path / "b") == rows
    write_folder(replace(PLAN, seed=22), tmp_path / "c")
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    changed = [name for name, digest in _digests(tmp_path / "c").items() if digest != _digests(tmp_path / "a")[name]]
    assert {"attendance_records.csv", "grades.csv", "enrollments.csv"} <= set(changed)


def test_every_table_has_its_canonical_header_and_its_rows(tmp_path):
    rows = write_folder(PLAN, tmp_path / "out")
    for table in TABLES:
        lines = (tmp_path / "out" / f"{table.name}.csv").read_text().splitlines()
        assert lines[0].split(",") == [column.name for column in table.columns]
        assert len(lines) - 1 == rows[table.name] > 0
        assert all(line.count(",") == lines[0].count(",") for line in lines)


def test_moments_are_written_with_their_offset(tmp_path):
    write_folder(PLAN, tmp_path / "out")
    recorded = [line.rsplit(",", 1)[1] for line in (tmp_path / "out" / "grades.csv").read_text().splitlines()[1:50]]
    assert all(moment.endswith("Z") and "T" in moment for moment in recorded)


def test_a_generated_folder_is_replaced_and_anything_else_refused(tmp_path):
    out = tmp_path / "out"
    write_folder(PLAN, out)
    write_folder(replace(PLAN, seed=5), out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FolderNotEmptyError, match="did not write"):
        write_folder(PLAN, out)
    assert (out / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FolderNotEmptyError, match="is a file"):
        write_folder(PLAN, file)


def test_an_interruption_leaves_the_old_folder_and_nothing_half_done(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_folder(PLAN, out)
    before = _digests(out)

    def broken(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "_append_truth", broken)
    with pytest.raises(KeyboardInterrupt):
        write_folder(replace(PLAN, seed=5), out)
    assert _digests(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_progress_is_told_school_by_school(tmp_path):
    told = []
    write_folder(PLAN, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_truth_lies_beside_the_records_and_is_named_in_no_table(tmp_path):
    write_folder(replace(PLAN, through=date(2026, 11, 1)), tmp_path / "out")
    people = pq.read_table(tmp_path / "out" / "truth" / "people.parquet")
    assert {"ability", "frailty", "leaving_date"} <= set(people.column_names)
    columns = {column.name for table in TABLES for column in table.columns}
    assert not columns & {"ability", "frailty", "engagement", "hazard", "shock"}


def test_support_that_was_given_is_listed_as_a_district_lists_it(tmp_path):
    plan = DistrictPlan(students=300, years=1, seed=4, intervention=True)
    write_folder(plan, tmp_path / "d")
    rules = ReadingRules(zone=ZoneInfo("America/New_York"), now=datetime(2026, 9, 1, tzinfo=UTC))
    rejected = []

    class Rejects:
        add = staticmethod(rejected.append)

    listed = read_feedback(tmp_path / "d" / SUPPORT_FILE, rules=rules, rejects=Rejects())
    statements = [statement for chunk in listed.chunks for statement in chunk.statements]
    assert not rejected
    assert len({statement.key for statement in statements}) == len(statements) > 10
    assert {(one.ended_on - one.started_on).days for one in statements} == {55}
    truth = pq.read_table(tmp_path / "d" / "truth" / "people.parquet").to_pylist()
    first = {row["student_id"]: row["support_from"] for row in truth if row["support_from"] is not None}
    assert first == {
        one.student_id: min(other.started_on for other in statements if other.student_id == one.student_id)
        for one in statements
    }
    write_folder(plan, tmp_path / "d")  # its own folder may be replaced
