"""The import of a folder into a store: summary, rejects file, and what an interruption leaves."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edupulse_ml.connectors.folder import NoImportFolderError
from edupulse_ml.connectors.importing import import_folder
from edupulse_ml.connectors.rejects import (
    RejectedRow,
    RejectFile,
    RejectsNotListedError,
    RejectsPathError,
    masked,
)
from edupulse_ml.connectors.values import ReadingRules

RULES = ReadingRules(ZoneInfo("America/New_York"), datetime(2026, 11, 1, 12, tzinfo=UTC))


@dataclass
class Result:
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejects: list = field(default_factory=list)


class SetLoader:
    """Keeps the rows of each table; rejects rows of a student it does not know; visible when the session ends."""

    def __init__(self, *, fail_at=None):
        self.rows, self.sources, self._fail_at = {}, [], fail_at
        self.touched_students = []

    @asynccontextmanager
    async def session(self, source):
        pending = {name: set(rows) for name, rows in self.rows.items()}
        self._pending = pending
        yield self
        self.rows = pending
        self.touched_students = ["stu-1"]
        self.sources.append(source)

    async def load(self, table_name, file_name, chunks):
        if table_name == self._fail_at:
            raise RuntimeError("the connection was lost")
        result, known = Result(), self._pending.setdefault(table_name, set())
        students = {dict(row)["student_id"] for row in self._pending.get("students", ())}
        for row in (row for chunk in chunks for row in chunk.to_pylist()):
            line = row.pop("line")
            key = tuple(row.items())
            if table_name == "attendance_records" and row["student_id"] not in students:
                result.rejects += [
                    RejectedRow(file_name, line, name, f"unknown {name}") for name in ("student_id", "school")
                ]
            elif key in known:
                result.unchanged += 1
            else:
                known.add(key)
                result.inserted += 1
        return result


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "nightly"
    path.mkdir()
    (path / "schools.csv").write_text("name\nNorth\n")
    (path / "students.csv").write_text("student_id,birth_date,shoe_size\nstu-1,2010-01-01,38\nstu-2,2010-13-01,39\n")
    (path / "attendance_records.csv").write_text(
        "student_id,date,status\nstu-1,2025-09-02,present\nstu-9,2025-09-02,present\nstu-1,2025-09-03,gone\n"
    )
    return path


def run(loader, folder, tmp_path):
    return asyncio.run(import_folder(loader, folder, rules=RULES, rejects_path=tmp_path / "out" / "rejects.csv"))


def test_the_summary_counts_every_row_once(folder, tmp_path):
    loader = SetLoader()
    summary = run(loader, folder, tmp_path)
    counts = {f.table: (f.read, f.inserted, f.updated, f.unchanged, f.rejected) for f in summary.files}
    assert counts == {
        "schools": (0, 0, 0, 0, 1),
        "students": (2, 1, 0, 0, 1),
        "attendance_records": (3, 1, 0, 0, 2),
    }
    assert (summary.rejected, summary.changed) == (4, 2)
    assert summary.touched_students == ("stu-1",)
    assert {f.table: f.ignored_columns for f in summary.files}["students"] == ("shoe_size",)
    assert loader.sources == ["folder nightly"]
    assert summary.rejects_path.read_text() == (
        "file,line,column,reason\n"
        "schools.csv,1,school_id,\"the file has no column 'school_id', which it must have\"\n"
        "students.csv,3,birth_date,\"column 'birth_date' holds '2***', which is not an ISO date (YYYY-MM-DD)\"\n"
        "attendance_records.csv,4,status,\"column 'status' holds 'g***', which is not one of present, absent_excused, "
        'absent_unexcused, tardy, suspended_out, remote_present"\n'
        "attendance_records.csv,3,student_id,unknown student_id\n"
        "attendance_records.csv,3,school,unknown school\n"
    )


def test_a_second_import_changes_nothing(folder, tmp_path):
    loader = SetLoader()
    run(loader, folder, tmp_path)
    again = run(loader, folder, tmp_path)
    assert again.changed == 0
    assert [f.unchanged for f in again.files] == [0, 1, 1]


def test_an_interrupted_import_leaves_store_and_rejects_file_as_they_were(folder, tmp_path):
    rejects_path = tmp_path / "out" / "rejects.csv"
    rejects_path.parent.mkdir()
    rejects_path.write_text("from the import before")
    loader = SetLoader(fail_at="attendance_records")
    with pytest.raises(RuntimeError, match="connection was lost"):
        run(loader, folder, tmp_path)
    assert loader.rows == {}
    assert rejects_path.read_text() == "from the import before"
    assert [path.name for path in rejects_path.parent.iterdir()] == ["rejects.csv"]


def test_an_import_without_rejects_leaves_an_empty_list(folder, tmp_path):
    for name in ("schools.csv", "attendance_records.csv"):
        (folder / name).unlink()
    (folder / "students.csv").write_text("student_id\nstu-1\n")
    summary = run(SetLoader(), folder, tmp_path)
    assert summary.rejected == 0
    assert summary.rejects_path.read_text() == "file,line,column,reason\n"


@pytest.mark.parametrize("name", ["taken", "file/rejects.csv"])
def test_a_rejects_path_that_cannot_be_written_is_refused_before_anything_is_stored(folder, tmp_path, name):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    loader = SetLoader()
    with pytest.raises(RejectsPathError, match="name a file"):
        asyncio.run(import_folder(loader, folder, rules=RULES, rejects_path=tmp_path / name))
    assert (loader.rows, loader.sources) == ({}, [])
    assert not list((tmp_path / "taken").iterdir())


def test_a_list_that_cannot_be_completed_stops_the_import(folder, tmp_path, monkeypatch):
    enter = RejectFile.__enter__

    def on_a_full_disk(self):
        enter(self)
        self._stream.close()
        self._stream = Path("/dev/full").open("w")  # noqa: SIM115 - closed by the class under test
        return self

    monkeypatch.setattr(RejectFile, "__enter__", on_a_full_disk)
    monkeypatch.setattr(RejectFile, "add", lambda self, row: self._stream.write(row.file))
    loader = SetLoader()
    with pytest.raises(RejectsPathError, match=r"No space left on device.*nothing was imported"):
        run(loader, folder, tmp_path)
    assert loader.rows == {}
    assert not list((tmp_path / "out").iterdir())


def test_a_list_that_cannot_take_its_name_is_told_together_with_what_was_stored(tmp_path):
    with pytest.raises(RejectsNotListedError, match="records are stored"), RejectFile(tmp_path / "r.csv"):
        (tmp_path / "r.csv").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


def test_two_lists_for_one_path_do_not_mix(tmp_path):
    path = tmp_path / "r.csv"
    with RejectFile(path) as first:
        with RejectFile(path) as second:
            first.add(RejectedRow("a.csv", 2, "", "first"))
            second.add(RejectedRow("a.csv", 3, "", "second"))
        assert path.read_text().splitlines()[1:] == ["a.csv,3,,second"]
    assert path.read_text().splitlines()[1:] == ["a.csv,2,,first"]
    assert [item.name for item in tmp_path.iterdir()] == ["r.csv"]


def test_nothing_to_import_opens_no_session(tmp_path):
    loader = SetLoader()
    with pytest.raises(NoImportFolderError, match="none of the expected files"):
        run(loader, tmp_path, tmp_path)
    assert loader.sources == []


@pytest.mark.parametrize(
    ("value", "shown"), [("s-10482", "s***"), ("abc", "a***"), ("ab", "***"), ("", "***"), ("\x01ab", "***")]
)
def test_a_mask_shows_the_first_character_of_a_long_value(value, shown):
    assert masked(value) == shown
