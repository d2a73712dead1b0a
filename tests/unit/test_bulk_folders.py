"""Folders of chunks: what is done, what is whole, and whose they are."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import ConflictError, InvalidInputError
from edupulse_ml.core.sequences import SequenceBatch, last_windows
from edupulse_ml.storage.scoring_runs import Chunk
from jobs.bulk import window_files
from jobs.bulk.folders import ChunkFolder, renamed_when_whole, value_to_continue_with, write_table
from jobs.bulk.window_files import describe_windows, plan_files, read_windows, write_windows
from tests.fakes.training_data import make_training_data

WEEKS = 8


def windows(students: int, *, seed: int = 1) -> SequenceBatch:
    return last_windows(make_training_data(n_students=students, n_weeks=10, seed=seed).block, window_weeks=WEEKS)


def write_one(folder: Path, name: str) -> None:
    write_table(pa.table({"a": [1]}), folder / f"{name}.parquet", rows_per_group=1, compression="none")


def fail_half_way(path: Path) -> None:
    with renamed_when_whole(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise RuntimeError


def test_a_chunk_is_missing_until_its_file_has_its_name(tmp_path: Path) -> None:
    folder = ChunkFolder(tmp_path / "new", {"kind": "x"})
    with folder.exclusive():
        assert folder.begin(again=False) is None
        with pytest.raises(RuntimeError):
            fail_half_way(folder.path / "b.parquet")
        write_one(folder.path, "a")
        assert folder.missing(["a", "b"]) == {"b"}
        assert [file.name for file in folder.path.iterdir() if "unfinished" in file.name] == []


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = ChunkFolder(tmp_path, {"kind": "x"})
    with folder.exclusive():
        folder.begin(again=False)
        write_one(tmp_path, "a")
        (tmp_path / ".b.parquet.0.unfinished").write_bytes(b"half")
        assert folder.begin(again=False) is None
        assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "_run.json", "a.parquet"]


def test_a_finished_folder_tells_its_totals_and_again_empties_it(tmp_path: Path) -> None:
    folder = ChunkFolder(tmp_path, {"kind": "x"})
    with folder.exclusive():
        folder.begin(again=False)
        write_one(tmp_path, "a")
        folder.finish({"students": 1})
        assert folder.begin(again=False) == {"students": 1}
        assert folder.begin(again=True) is None
        assert folder.missing(["a"]) == {"a"}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    write_one(tmp_path, "theirs")
    with pytest.raises(ConflictError, match="something else"):
        ChunkFolder(tmp_path, {"kind": "x"}).begin(again=False)
    with pytest.raises(ConflictError, match="something else"):
        ChunkFolder(tmp_path, {"kind": "x"}).begin(again=True)
    other = tmp_path / "other"
    with ChunkFolder(other, {"kind": "x", "week": 1}).exclusive():
        ChunkFolder(other, {"kind": "x", "week": 1}).begin(again=False)
        with pytest.raises(ConflictError, match="other week"):
            ChunkFolder(other, {"kind": "x", "week": 2}).begin(again=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError), ChunkFolder(tmp_path / "file", {}).exclusive():
        pass


def test_a_run_takes_over_the_moment_of_the_one_it_continues(tmp_path: Path) -> None:
    ChunkFolder(tmp_path, {"kind": "x", "as_of": "then"}).begin(again=False)
    assert value_to_continue_with(tmp_path, {"kind": "x", "as_of": "now"}, field="as_of") == "then"
    assert value_to_continue_with(tmp_path, {"kind": "y", "as_of": "now"}, field="as_of") is None
    assert value_to_continue_with(tmp_path / "none", {"kind": "x", "as_of": "now"}, field="as_of") is None


def test_windows_come_back_bit_by_bit_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_files, "STUDENTS_PER_GROUP", 30)
    batch = windows(100)
    names = [f"s{number}" for number in range(100)]
    write_windows(tmp_path / "p.parquet", names, batch)
    chunks = plan_files(tmp_path, students_per_chunk=50)
    assert chunks == [Chunk("p.parquet", 0, 1, 60), Chunk("p.parquet", 2, 3, 40)]
    assert [chunk.name for chunk in chunks] == ["p-0000000000", "p-0000000002"]
    parts = [part for chunk in chunks for part in read_windows(tmp_path, chunk, window_weeks=WEEKS)]
    assert [part.batch.n_examples for part in parts] == [30, 30, 30, 10]
    assert [name for part in parts for name in part.student_id.to_pylist()] == names
    for field in ("values", "support", "mask", "aux", "context", "week", "grade_level"):
        joined = np.concatenate([getattr(part.batch, field) for part in parts])
        assert joined.dtype == getattr(batch, field).dtype
        np.testing.assert_array_equal(joined, getattr(batch, field))
        assert not getattr(parts[0].batch, field).flags.owndata


def test_windows_of_no_student_are_a_file_without_a_chunk(tmp_path: Path) -> None:
    write_windows(tmp_path / "p.parquet", [], windows(5).select(slice(0, 0)))
    assert plan_files(tmp_path, students_per_chunk=50) == []


def test_a_file_of_other_columns_or_weeks_is_refused(tmp_path: Path) -> None:
    write_windows(tmp_path / "p.parquet", ["s0", "s1"], windows(2))
    (chunk,) = plan_files(tmp_path, students_per_chunk=50)
    with pytest.raises(InvalidInputError, match="windows of 9 weeks"):
        next(read_windows(tmp_path, chunk, window_weeks=WEEKS + 1))
    table = pq.read_table(tmp_path / "p.parquet").drop_columns("aux")
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InvalidInputError, match="windows of 8 weeks"):
        next(read_windows(tmp_path, chunk, window_weeks=WEEKS))


def test_a_folder_of_windows_of_another_contract_is_refused(tmp_path: Path) -> None:
    contract = current_contract(window_weeks=WEEKS)
    identity = {
        "kind": "windows",
        "district": "demo",
        "timezone": "UTC",
        "contract_fingerprint": contract.fingerprint,
        "window_weeks": WEEKS,
        "through_week": 18_876,
        "as_of": "2021-09-20T00:00:00+00:00",
    }
    folder = ChunkFolder(tmp_path, identity)
    folder.begin(again=False)
    with pytest.raises(InvalidInputError, match="not complete"):
        describe_windows(tmp_path, contract=contract)
    folder.finish({"students": 0})
    assert json.loads(json.dumps(describe_windows(tmp_path, contract=contract).identity())) == identity
    with pytest.raises(InvalidInputError, match="the model reads"):
        describe_windows(tmp_path, contract=current_contract(window_weeks=WEEKS + 1))
