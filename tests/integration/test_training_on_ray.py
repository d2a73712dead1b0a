"""Training runs as jobs of a real Ray head: begun, stopped, killed, and a head that is started again."""

import asyncio
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from deployments.job_server import RayJobServer, Submission
from deployments.training_runs import Asker, Placement, RunReport, TrainingRuns
from edupulse_ml.config.settings import process_environment
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.training_runs import QUIET, TrainingJob
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.training_jobs import TrainingJobRepository
from jobs.stack.paths import StackPaths
from jobs.stack.ports import LOOPBACK
from jobs.stack.processes import ManagedProcess
from jobs.stack.ray import ensure_ray, stop_ray
from tests.fakes.store_world import World
from tests.fakes.training_stand_in import CHECKPOINT, pids

REPOSITORY = Path(__file__).parents[2]
ASKER = Asker("ada", "r")
RELEASED = (REPOSITORY / "edupulse_ml" / "evaluation" / "promotion_policy.yaml").read_text()


class LateClock:
    """The machine's clock, later by what a test says."""

    def __init__(self) -> None:
        self.later = timedelta(0)

    def now(self) -> datetime:
        return SystemClock().now() + self.later


class StandInServer(RayJobServer):
    """Runs `tests.fakes.training_stand_in` in place of `edupulse jobs run`."""

    async def submit(self, submission: Submission) -> None:
        module = "tests.fakes.training_stand_in"
        await super().submit(replace(submission, entrypoint=submission.entrypoint.replace("jobs.cli jobs run", module)))


@dataclass
class Cluster:
    """A Ray head whose jobs find one district."""

    paths: StackPaths
    world: World
    environment: dict[str, str]
    head: ManagedProcess
    clock: LateClock

    def start_head(self) -> None:
        self.head = ensure_ray(self.paths, dashboard_port=0, environment=self.environment, fast=False)

    def ask(self, work: Callable, *, server: type[RayJobServer] = StandInServer):
        """What `work` answers, given the runs of a gateway that has just been started."""

        async def main(database: Database):
            runs = TrainingRuns(
                runs=TrainingJobRepository(database, clock=self.clock),
                server=server(self.head.url, timeout_s=60.0),
                clock=self.clock,
                new_id=uuid4,
                placement=Placement({"EDUPULSE_DISTRICT": "demo"}),
            )
            return await work(runs)

        return self.world.run(main)

    def start(self, *, server: type[RayJobServer] = StandInServer) -> UUID:
        report = self.ask(lambda runs: runs.start(TrainingOrder(), key=str(uuid4()), asker=ASKER), server=server)
        return report.job.job_id

    def wait(self, job_id: UUID, condition: Callable[[TrainingJob], bool]) -> TrainingJob:
        async def work(runs: TrainingRuns) -> TrainingJob:
            deadline = time.monotonic() + 240
            while not condition((report := await runs.status(job_id)).job):
                assert time.monotonic() < deadline, f"the run stays {report.job.status} in {report.job.step}"
                await asyncio.sleep(0.3)
            return report.job

        return self.ask(work)

    def wait_until_it_trains(self, job_id: UUID) -> tuple[int, int]:
        self.wait(job_id, lambda job: bool(job.epoch))
        return pids(self.paths.home)


@pytest.fixture(scope="module")
def cluster(module_database_urls, redis_server) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="ep-jobs-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = StackPaths.of(Path(folder))
        world = World(module_database_urls)
        environment = {
            **process_environment(),  # with the token of these tests, see `tests/conftest.py`
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "EDUPULSE_HOME": folder,
            "EDUPULSE_DISTRICT": "demo",
            "EDUPULSE_DATABASE_URL": world.urls.app_url,
            "EDUPULSE_REDIS_URL": redis_server.url,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "EDUPULSE_PROMOTION_POLICY": f"{folder}/policy.yaml",
        }
        (paths.home / "policy.yaml").write_text(RELEASED)
        running = Cluster(
            paths,
            world,
            environment,
            ensure_ray(paths, dashboard_port=0, environment=environment, fast=False),
            LateClock(),
        )
        try:
            yield running
        finally:
            stop_ray(paths)


def wait_until_gone(*processes: int) -> None:
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in processes):
        assert time.monotonic() < deadline, "a process of the run outlives it"
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_run_is_stopped_with_all_its_processes_and_keeps_its_checkpoint(cluster: Cluster) -> None:
    assert httpx.get(f"{cluster.head.url}/api/jobs/", trust_env=False).status_code == 401
    job_id = cluster.start()
    processes = cluster.wait_until_it_trains(job_id)
    asked: RunReport = cluster.ask(lambda runs: runs.stop(job_id, asker=ASKER))
    assert asked.job.status in {"stopping", "stopped"}
    job = cluster.wait(job_id, lambda job: not job.under_way)
    assert (job.status, job.error) == ("stopped", "Stopped on request.")
    assert job.lines[-1].text.startswith("training (gru): epoch")
    wait_until_gone(*processes)
    assert (cluster.paths.home / CHECKPOINT).read_text() == str(job_id)


def test_a_killed_run_is_seen_as_failed_and_the_next_one_begins(cluster: Cluster) -> None:
    job_id = cluster.start()
    process, child = cluster.wait_until_it_trains(job_id)
    os.kill(process, signal.SIGKILL)
    job = cluster.wait(job_id, lambda job: not job.under_way)
    assert job.status == "failed"
    assert "ended without saying how" in (job.error or "")
    after = cluster.start()
    others = cluster.wait_until_it_trains(after)
    assert others[0] != process
    cluster.ask(lambda runs: runs.stop(after, asker=ASKER))
    cluster.wait(after, lambda job: not job.under_way)
    os.kill(child, signal.SIGKILL) if _lives(child) else None
    wait_until_gone(*others, child)


def test_a_submission_that_ray_has_is_not_begun_twice_also_from_inside_the_cluster(cluster: Cluster) -> None:
    import ray

    once = Submission(f"test-{uuid4()}", "sleep 600")

    async def work(server: RayJobServer) -> list[str]:
        await server.submit(once)
        await server.submit(once)
        await server.stop("test-nobody-knows")
        words = [await server.word(once.submission_id), await server.word("test-nobody-knows")]
        await server.stop(once.submission_id)
        return words

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address=f"{LOOPBACK}:{cluster.head.port('gcs')}", log_to_driver=False)
        try:
            first, second = asyncio.run(work(RayJobServer(None, timeout_s=60.0)))
        finally:
            ray.shutdown()
    assert first in {"pending", "running"}
    assert second == "unknown"


def test_edupulse_jobs_run_takes_up_the_run_and_says_why_it_ends(cluster: Cluster) -> None:
    job_id = cluster.start(server=RayJobServer)
    job = cluster.wait(job_id, lambda job: not job.under_way)
    assert job.status == "failed"
    assert job.error is not None
    assert "ended without saying how" not in job.error
    assert [line.text for line in job.lines][:1] == ["computing features"]


def test_a_run_is_judged_by_the_policy_that_the_head_was_started_with(cluster: Cluster) -> None:
    (cluster.paths.home / "policy.yaml").write_text(f"{RELEASED}\nno_such_rule: 3\n")
    try:
        job_id = cluster.start(server=RayJobServer)
        job = cluster.wait(job_id, lambda job: not job.under_way)
    finally:
        (cluster.paths.home / "policy.yaml").write_text(RELEASED)
    assert job.status == "failed"
    assert (job.error or "").startswith("EDUPULSE_PROMOTION_POLICY: The policy ")
    assert "no_such_rule" in (job.error or "")
    assert not job.lines


def test_a_head_that_is_started_again_knows_no_runs_and_blocks_none(cluster: Cluster) -> None:
    job_id = cluster.start()
    processes = cluster.wait_until_it_trains(job_id)
    stop_ray(cluster.paths)
    wait_until_gone(*processes)
    assert cluster.ask(lambda runs: runs.status(job_id)).job.status == "running"  # nobody can say otherwise yet
    cluster.start_head()
    assert cluster.ask(lambda runs: runs.status(job_id)).job.status == "running"
    cluster.clock.later = QUIET + timedelta(seconds=1)
    job = cluster.ask(lambda runs: runs.status(job_id)).job
    assert job.status == "failed"
    assert "last heard of" in (job.error or "")
    after = cluster.start()
    cluster.ask(lambda runs: runs.stop(after, asker=ASKER))
    assert cluster.wait(after, lambda job: not job.under_way).status == "stopped"
