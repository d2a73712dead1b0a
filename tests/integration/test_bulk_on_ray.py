"""Chunks on a real Ray: each done once, errors told at the driver, and what a dead worker had begun done again."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import DependencyDownError, EduPulseError
from edupulse_ml.core.sequences import last_windows
from jobs.bulk.folders import ChunkFolder
from jobs.bulk.score_runs import DistrictScores, ScoreRequest, score
from jobs.bulk.window_files import WindowsDescription, write_windows
from jobs.bulk.work import ChunkDone
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import make_artifact, make_district, register_champion
from tests.fakes.store_world import NOW
from tests.fakes.training_data import make_training_data


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}},
    )
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Notes:
    """A plan whose worker notes in a folder what it does; chunk 3 kills its process the first time where asked to, and
    `error` is raised at chunk 5.
    """

    folder: Path
    dies: bool = False
    error: Callable[[], Exception] | None = None

    student_us = 1.0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["Notes", None]:
        yield self

    async def do(self, chunk: int) -> ChunkDone:
        if chunk == 5 and self.error is not None:
            raise self.error()
        with (self.folder / f"{chunk}").open("a") as note:
            note.write("x")
        if self.dies and chunk == 3 and (self.folder / "3").read_text() == "x":
            os.kill(os.getpid(), signal.SIGKILL)
        return ChunkDone(chunk, {"done": 1})


def test_every_chunk_is_done_once_by_several_processes(cluster, tmp_path: Path) -> None:
    from jobs.bulk.on_ray import do_on_ray

    done = list(do_on_ray(Notes(tmp_path), range(30)))
    assert sorted(one.students for one in done) == list(range(30))
    assert sum(one.counts["done"] for one in done) == 30
    assert {file.read_text() for file in tmp_path.iterdir()} == {"x"}


def test_a_chunk_whose_worker_died_is_done_again(cluster, tmp_path: Path) -> None:
    from jobs.bulk.on_ray import do_on_ray

    done = list(do_on_ray(Notes(tmp_path, dies=True), range(8)))
    assert sorted(one.students for one in done) == list(range(8))
    assert (tmp_path / "3").read_text() == "xx"


@pytest.mark.parametrize(
    ("error", "kind", "match"),
    [
        (lambda: DependencyDownError("It is down.", dependency="postgresql"), DependencyDownError, "^It is down.$"),
        (lambda: ValueError("secret of a student"), EduPulseError, "failed with ValueError at"),
    ],
)
def test_an_error_of_a_worker_is_raised_here(cluster, tmp_path: Path, error, kind, match) -> None:
    from jobs.bulk.on_ray import do_on_ray

    with pytest.raises(kind, match=match) as raised:
        list(do_on_ray(Notes(tmp_path, error=error), range(8)))
    assert "secret" not in str(raised.value)
    assert getattr(raised.value, "dependency", "postgresql") == "postgresql"


def run(settings: Settings, **request) -> DistrictScores:
    return asyncio.run(
        score(settings, ScoreRequest(**{"top": 1000, **request}), clock=FixedClock(NOW), console=Console(quiet=True))
    )


def test_ray_scores_a_folder_as_this_process_does(cluster, tmp_path: Path) -> None:
    make_artifact().save(tmp_path / "model")
    source = tmp_path / "windows"
    contract = current_contract(window_weeks=20)
    described = WindowsDescription("demo", "UTC", contract.fingerprint, 20, 18_876, NOW)
    folder = ChunkFolder(source, described.identity())
    with folder.exclusive():
        folder.begin(again=False)
    for part in range(5):
        block = make_training_data(n_students=40, n_weeks=24, seed=part).block
        write_windows(
            source / f"p{part}.parquet", [f"s{part}-{i}" for i in range(40)], last_windows(block, window_weeks=20)
        )
    folder.finish({"students": 200})
    settings = Settings(home=tmp_path / "home")
    request = {"source": source, "model": tmp_path / "model"}
    here = run(settings, **request, target=tmp_path / "here", place="here")
    there = run(settings, **request, target=tmp_path / "there", place="ray")
    assert here.scored + here.insufficient == 200
    assert there == here
    for file in (tmp_path / "here").glob("*.parquet"):
        assert pq.read_table(file).equals(pq.read_table(tmp_path / "there" / file.name))


def test_ray_computes_and_scores_a_district_in_its_stores(
    cluster, tmp_path: Path, database_urls, redis_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.bulk.score_runs.STUDENTS_PER_CHUNK", 10)
    monkeypatch.setattr("jobs.materialise.CHUNK_STUDENTS", 10)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    register_champion(uri, tmp_path)
    district = make_district(database_urls, redis_server.url, uri=uri, home=tmp_path, students=34)
    result = run(district.settings, place="ray")
    stored = district.world.rows("SELECT student_key, risk_score FROM predictions")
    assert len(stored) == len({row["student_key"] for row in stored}) == result.scored == 34 - 3 - 3
    assert district.world.values("SELECT count(*) FROM feature_refresh_queue") == [0]
    again = run(district.settings, place="here", again=True)
    assert [(p.student_id, p.risk_score) for p in again.predictions] == [
        (p.student_id, p.risk_score) for p in result.predictions
    ]
