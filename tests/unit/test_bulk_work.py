"""Chunks in one process, rows of many students at once, and files of scores."""

import asyncio
import pickle
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.predictions import CATEGORIES, Coverage
from edupulse_ml.core.sequences import concatenate_batches, empty_windows, last_windows
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_of, has_enough, what_is_missing
from edupulse_ml.storage.scoring_runs import INSUFFICIENT, Chunk, ScoredRows
from jobs.bulk import window_files
from jobs.bulk.model_files import ModelFiles
from jobs.bulk.running import WORTH_RAY_S, do_here, is_for_ray
from jobs.bulk.score_files import ScoresDescription, count_rows, highest, write_scores
from jobs.bulk.scoring import ScoresFolder, ScoringPlan, WindowsFolder
from jobs.bulk.store_windows import AsOf
from jobs.bulk.window_files import StudentWindows, plan_files, read_windows, write_windows
from jobs.bulk.window_scoring import concatenate_rows, score_rows
from jobs.bulk.work import ChunkDone
from tests.fakes.scored_district import make_artifact
from tests.fakes.training_data import make_training_data


@dataclass
class CountingWorker:
    """Fails at chunk `fails_at`; knows how many chunks were under way at most."""

    fails_at: int = -1
    under_way: int = 0
    most: int = 0
    done: int = 0

    async def do(self, chunk: int) -> ChunkDone:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if chunk == self.fails_at:
                raise DependencyDownError("gone", dependency="x")
            self.done += 1
            return ChunkDone(chunk, {})
        finally:
            self.under_way -= 1


def do_all(worker: CountingWorker, chunks: range, *, at_once: int) -> list[ChunkDone]:
    async def main() -> list[ChunkDone]:
        return [done async for done in do_here(worker, chunks, at_once=at_once)]

    return asyncio.run(main())


@pytest.mark.parametrize("at_once", [1, 3])
def test_never_more_chunks_are_under_way_than_allowed_and_each_is_done_once(at_once: int) -> None:
    worker = CountingWorker()
    done = do_all(worker, range(20), at_once=at_once)
    assert sorted(one.students for one in done) == list(range(20))
    assert worker.most == at_once


def test_chunks_are_taken_only_as_others_finish() -> None:
    taken: list[int] = []

    async def main() -> None:
        chunks = (taken.append(number) or number for number in range(10))
        async for _ in do_here(CountingWorker(), chunks, at_once=2):  # pyright: ignore[reportArgumentType]
            break

    asyncio.run(main())
    assert len(taken) == 2


def test_the_first_error_ends_the_work_and_cancels_what_is_under_way() -> None:
    worker = CountingWorker(fails_at=4)
    with pytest.raises(DependencyDownError, match="gone"):
        do_all(worker, range(20), at_once=2)
    assert worker.under_way == 0
    assert worker.done < 8


def test_small_districts_stay_in_this_process() -> None:
    students = int(WORTH_RAY_S * 1e6 / 50)
    assert not is_for_ray("auto", students=students - 1, student_us=50)
    assert is_for_ray("auto", students=students, student_us=50)
    assert is_for_ray("auto", students=students // 30, student_us=1500)
    assert is_for_ray("ray", students=1, student_us=1)
    assert not is_for_ray("here", students=10**9, student_us=1500)


@given(
    shares=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.499999, 1.0]), min_size=3, max_size=3),
    weeks=st.integers(0, 20),
    age=st.sampled_from([-3, 0, 104, 105, 106, 400]),
)
def test_many_students_have_enough_data_exactly_when_one_does(shares: list[float], weeks: int, age: int) -> None:
    policy = SufficiencyPolicy()
    one = what_is_missing(Coverage(*shares, weeks), feature_age_days=age, policy=policy) == ()
    many = has_enough(np.array([shares]), weeks=np.array([weeks]), feature_age_days=np.array([age]), policy=policy)
    assert many.tolist() == [one]


def test_rows_of_a_batch_are_those_of_its_students_alone() -> None:
    artifact = make_artifact()
    block = make_training_data(n_students=30, n_weeks=24, seed=2).block
    weeks = artifact.contract.window_weeks
    batch = concatenate_batches([last_windows(block, window_weeks=weeks), empty_windows(1, window_weeks=weeks)])
    today = int(batch.week.max()) + 60
    rows = score_rows(artifact, batch, today=today)
    alone = [score_rows(artifact, batch.select([row]), today=today) for row in range(31)]
    for name, values in vars(concatenate_rows(alone)).items():
        np.testing.assert_allclose(getattr(rows, name), values, atol=1e-6)
    assert rows.category[-1] == INSUFFICIENT
    assert rows.scored == int((rows.category >= 0).sum()) > 0
    late = score_rows(artifact, batch, today=int(batch.week.max()) + 400)
    assert late.scored == 0
    for row, coverage in enumerate(coverage_of(batch)):
        assert tuple(rows.coverage[row]) == (coverage.attendance, coverage.course, coverage.discipline)
        assert rows.weeks[row] == coverage.weeks


def test_a_file_is_scored_one_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_files, "STUDENTS_PER_GROUP", 16)
    make_artifact().save(tmp_path / "model")
    block = make_training_data(n_students=160, n_weeks=24, seed=2).block
    write_windows(tmp_path / "w.parquet", [f"s{i}" for i in range(160)], last_windows(block, window_weeks=20))
    seen: list[weakref.ref] = []
    most_alive = 0

    def watched(*args, **kwargs) -> Iterator[StudentWindows]:
        nonlocal most_alive
        for windows in read_windows(*args, **kwargs):
            seen.append(weakref.ref(windows))
            most_alive = max(most_alive, sum(one() is not None for one in seen))
            yield windows
            del windows

    monkeypatch.setattr("jobs.bulk.scoring.read_windows", watched)
    files = ModelFiles.read(ModelVersion("1"), tmp_path / "model")
    as_of = AsOf(datetime(2022, 3, 1, tzinfo=UTC), "UTC")
    plan = ScoringPlan(files, as_of, WindowsFolder(tmp_path), ScoresFolder(tmp_path / "scores"), None)
    (tmp_path / "scores").mkdir()
    chunks = plan_files(tmp_path, students_per_chunk=160)

    async def main() -> ChunkDone:
        async with plan.open() as worker:
            return await worker.do(chunks[0])

    assert asyncio.run(main()).students == 160
    assert len(seen) == 10
    assert most_alive <= 2


def test_only_descriptions_of_chunks_travel_between_processes() -> None:
    assert len(pickle.dumps(Chunk("students-0000000001.parquet", 0, 7, 8192))) < 500
    assert len(pickle.dumps(ChunkDone(8192, {"scored": 8000, "insufficient": 192}))) < 500


def made_rows(risk: list[float], *, insufficient: set[int] = frozenset()) -> ScoredRows:
    n = len(risk)
    category = np.array([INSUFFICIENT if i in insufficient else i % 4 for i in range(n)], np.int8)
    return ScoredRows(
        category=category,
        feature_week=np.full(n, 18_876, np.int32),
        risk_score=np.array(risk),
        risk_60plus=np.array(risk) / 2,
        coverage=np.full((n, 3), 0.5),
        weeks=np.full(n, 20, np.int32),
    )


def test_the_highest_scores_of_all_files_come_first_and_ties_by_name(tmp_path: Path) -> None:
    described = ScoresDescription(ModelVersion("1"), "p", datetime(2025, 6, 2, tzinfo=UTC))
    write_scores(
        tmp_path / "a.parquet", pa.array(["s3", "s1", "s9"]), made_rows([0.5, 0.9, 0.99], insufficient={2}), described
    )
    write_scores(tmp_path / "b.parquet", pa.array(["s2", "s0"]), made_rows([0.5, 0.1]), described)
    assert [(p.student_id, p.risk_score) for p in highest(tmp_path, limit=3)] == [("s1", 0.9), ("s2", 0.5), ("s3", 0.5)]
    assert len(highest(tmp_path, limit=100)) == 4
    assert highest(tmp_path, limit=0) == []
    assert count_rows(tmp_path) == (4, 1)
    best = highest(tmp_path, limit=1)[0]
    assert (best.category, best.risk_60plus, best.coverage.course) == (CATEGORIES[1], 0.45, 0.5)
    assert best.as_of == datetime(2025, 6, 2, tzinfo=UTC)


def test_a_file_of_insufficient_students_alone_has_no_highest(tmp_path: Path) -> None:
    described = ScoresDescription(ModelVersion("1"), "p", datetime(2025, 6, 2, tzinfo=UTC))
    write_scores(tmp_path / "a.parquet", pa.array(["s3"]), made_rows([0.5], insufficient={0}), described)
    assert highest(tmp_path, limit=3) == []
    assert count_rows(tmp_path) == (0, 1)
