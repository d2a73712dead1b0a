"""Training runs on a real PostgreSQL: many ask at once, the last release still runs, a run's account of itself."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from deployments.training_runs import Asker, Placement, TrainingRuns
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.errors import ConflictError, NotEnoughDataError
from edupulse_ml.core.training_runs import RunLine
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.training_claims import KeyReusedError, TrainingUnderWayError
from edupulse_ml.storage.training_jobs import NewRun, News, TrainingJobRepository
from jobs.recording import LiveRecord, RunStoppedError, recorded_run
from jobs.runs import app
from jobs.search_recording import recorded_search, with_jobs
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import World
from tests.fakes.training import FakeJobServer

ASKER = Asker("ada", "r")
AT_ONCE = 8


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({})
    return world


async def gateways(world: World, server: FakeJobServer, ask):
    """What `ask` gives on as many gateways at once, errors included, each with a pool of its own."""
    databases = [Database(world.urls.app_url, district_id=world.district) for _ in range(AT_ONCE)]
    for database in databases:
        await database.open()
        await database.ping()
    try:
        runs = [
            TrainingRuns(
                runs=TrainingJobRepository(database, clock=world.clock),
                server=server,
                clock=world.clock,
                new_id=uuid4,
                placement=Placement({}),
            )
            for database in databases
        ]
        return await asyncio.gather(*(ask(number, each) for number, each in enumerate(runs)), return_exceptions=True)
    finally:
        for database in databases:
            await database.close()


def test_of_many_starts_at_once_one_is_accepted_and_the_others_name_it(world) -> None:
    server = FakeJobServer()
    outcomes = asyncio.run(
        gateways(
            world, server, lambda number, runs: runs.start(TrainingOrder(seed=number), key=f"k{number}", asker=ASKER)
        )
    )
    (accepted,) = [item for item in outcomes if not isinstance(item, BaseException)]
    refused = [item for item in outcomes if isinstance(item, TrainingUnderWayError)]
    assert len(refused) == AT_ONCE - 1
    assert all(str(accepted.job.job_id) in str(error) for error in refused)
    assert [item.submission_id for item in server.submissions] == [accepted.job.submission_id]
    assert world.values("SELECT outcome FROM audit_log ORDER BY outcome") == ["queued", *["refused"] * (AT_ONCE - 1)]


def test_the_same_key_many_times_at_once_is_one_run(world) -> None:
    server = FakeJobServer()
    outcomes = asyncio.run(
        gateways(world, server, lambda _, runs: runs.start(TrainingOrder(seed=1), key="k", asker=ASKER))
    )
    assert len({item.job.job_id for item in outcomes}) == 1
    assert len({item.submission_id for item in server.submissions}) == 1
    assert world.values("SELECT count(*) FROM training_jobs") == [1]


def test_one_key_with_different_orders_at_once_is_one_run_and_refusals(world) -> None:
    outcomes = asyncio.run(
        gateways(
            world, FakeJobServer(), lambda number, runs: runs.start(TrainingOrder(seed=number), key="k", asker=ASKER)
        )
    )
    assert sum(isinstance(item, KeyReusedError) for item in outcomes) == AT_ONCE - 1
    assert world.values("SELECT count(*) FROM training_jobs") == [1]


def test_runs_of_the_last_release_neither_block_nor_are_touched(world) -> None:
    old = "INSERT INTO training_jobs (job_id, kind, status, started_at, parameters) VALUES (gen_random_uuid(), 'train', 'running', now(), '{}')"

    async def work(database: Database):
        async with database.connection() as connection:
            for _ in range(2):  # two that were killed
                await connection.execute(old)
        jobs = TrainingJobRepository(database, clock=world.clock)
        runs = TrainingRuns(runs=jobs, server=FakeJobServer(), clock=world.clock, new_id=uuid4, placement=Placement({}))
        started = await runs.start(TrainingOrder(), key="k", asker=ASKER)
        return started.job, [job.status for job in await jobs.latest(limit=5)]

    job, states = world.run(work)
    assert job.status == "queued"
    assert sorted(states) == ["queued", "running", "running"]


class TestTheAccountOfARun:
    """`jobs.recording`, as `edupulse train` uses it."""

    def context(self, world: World, database: Database):
        return SimpleNamespace(
            clock=world.clock,
            database=database,
            endpoints=SimpleNamespace(database_url=world.urls.app_url),
            district_id=world.district,
        )

    def run(self, world: World, work):
        async def main(database: Database):
            jobs = TrainingJobRepository(database, clock=world.clock)
            return await work(self.context(world, database), jobs)

        return world.run(main)

    def test_steps_epochs_and_lines_reach_the_database_and_a_success_ends_it(self, world) -> None:
        async def work(context, jobs):
            async with recorded_run(context, None, parameters={"epochs": 2}, run_name=None) as record:
                record.step("training (gru)", of_epochs=2)
                record.progress({"epoch": 1.0, "validation_loss": 0.5, "train_loss": float("nan")})
                record.progress({"trees": 7.0})
                await record.succeed(jobs, model_version="3", summary={"auc": 0.8})
            return await jobs.find(record.job_id)

        job = self.run(world, work)
        assert (job.status, job.model_version, job.summary) == ("succeeded", "3", {"auc": 0.8})
        assert (job.step, job.epoch, job.of_epochs) == ("training (gru)", 1, 2)
        assert job.metrics == {"epoch": 1.0, "validation_loss": 0.5}
        assert [line.text for line in job.lines] == [
            "training (gru)",
            "training (gru): epoch 1 of at most 2; validation_loss 0.5",
        ]
        assert world.rows("SELECT actor, action, outcome FROM audit_log") == [
            {"actor": "edupulse train", "action": "train_start", "outcome": "running"}
        ]

    @pytest.mark.parametrize(
        ("error", "told"),
        [(NotEnoughDataError("Too few students."), "Too few students."), (ValueError("student Jane"), "ValueError")],
    )
    def test_a_failure_is_kept_without_what_may_be_student_data(self, world, error, told) -> None:
        async def work(context, jobs):
            with pytest.raises(type(error)):
                async with recorded_run(context, None, parameters={}, run_name=None):
                    raise error
            return (await jobs.latest(limit=1))[0]

        job = self.run(world, work)
        assert (job.status, job.error) == ("failed", told)

    def test_a_run_that_is_to_stop_ends_at_its_next_epoch_and_is_stopped(self, world) -> None:
        async def train(record: LiveRecord) -> None:
            for _ in range(1000):
                await asyncio.to_thread(record.progress, {"epoch": 1.0})
                await asyncio.sleep(0.05)
            raise AssertionError("it was never told to stop")

        async def recorded(context, jobs) -> None:
            async with recorded_run(context, None, parameters={}, run_name=None) as record:
                record.step("training (gru)", of_epochs=1000)
                await jobs.ask_to_stop(record.job_id, asked_by="ada", request_id="r")
                await train(record)

        async def work(context, jobs):
            with pytest.raises(RunStoppedError):
                await recorded(context, jobs)
            return (await jobs.latest(limit=1))[0]

        job = self.run(world, work)
        assert (job.status, job.error) == ("stopped", "The run was asked to stop.")

    def test_a_run_on_the_command_line_waits_for_none_and_is_refused_while_another_is_under_way(self, world) -> None:
        async def work(context, jobs):
            async with recorded_run(context, None, parameters={}, run_name=None) as record:
                with pytest.raises(TrainingUnderWayError, match=str(record.job_id)):
                    async with recorded_run(context, None, parameters={}, run_name=None):
                        pass
                await record.succeed(jobs, model_version="1", summary={})
            return await jobs.latest(limit=5)

        assert [job.status for job in self.run(world, work)] == ["succeeded"]

    def test_a_queued_run_is_taken_up_by_its_id(self, world) -> None:
        async def work(context, jobs):
            runs = TrainingRuns(
                runs=jobs,
                server=FakeJobServer(),
                clock=world.clock,
                new_id=lambda: UUID(int=5),
                placement=Placement({}),
            )
            await runs.start(TrainingOrder(workers=2), key="k", asker=ASKER)
            taken = await jobs.take_up(UUID(int=5))
            async with recorded_run(context, taken.job_id, parameters={}, run_name=taken.run_name) as record:
                await record.succeed(jobs, model_version="1", summary={})
            return await jobs.find(UUID(int=5))

        job = self.run(world, work)
        assert (job.status, job.run_name) == ("succeeded", f"train-{UUID(int=5)}")


class TestTheAccountOfASearch:
    """`jobs.search_recording`, as `edupulse tune` uses it: without an event loop."""

    @pytest.fixture
    def context(self, world):
        return SimpleNamespace(
            clock=SystemClock(),
            endpoints=SimpleNamespace(database_url=world.urls.app_url),
            district_id=world.district,
        )

    def test_it_lives_says_what_it_does_and_succeeds_beside_a_training_run(self, context) -> None:
        async def train(jobs) -> bool:
            return await jobs.claim(NewRun(UUID(int=9), "running", "edupulse train", "r", {}))

        assert with_jobs(context, train)
        with recorded_search(context, parameters={"trials": 20}) as record:
            before = with_jobs(context, lambda jobs: jobs.find(record.job_id)).heartbeat_at
            record.step("searching")
            record.note("searching: 3 of 20 trials")
            while (job := with_jobs(context, lambda jobs: jobs.find(record.job_id))).step is None:
                time.sleep(0.1)
            assert (job.kind, job.status, job.step) == ("tune", "running", "searching: 3 of 20 trials")
            assert before < job.heartbeat_at
            with_jobs(context, lambda jobs: record.succeed(jobs, model_version="3", summary={"auc": 0.8}))
        ended = with_jobs(context, lambda jobs: jobs.find(record.job_id))
        assert (ended.status, ended.model_version, ended.parameters) == ("succeeded", "3", {"trials": 20})

    def test_one_that_is_asked_to_stop_is_not_interrupted_in_a_note_ends_itself_and_is_stopped(self, context) -> None:
        def search() -> None:
            with recorded_search(context, parameters={}) as record:
                with_jobs(context, lambda jobs: jobs.ask_to_stop(record.job_id, asked_by="ada", request_id="r"))
                for number in range(1000):
                    record.note(f"searching: {number} of 1000 trials")
                    if record.is_stopped:
                        record.heed()
                    time.sleep(0.05)
                raise AssertionError("it was never told to stop")

        with pytest.raises(RunStoppedError):
            search()
        (job,) = with_jobs(context, lambda jobs: jobs.latest(limit=2))
        assert (job.status, job.error) == ("stopped", "The run was asked to stop.")

    @pytest.mark.parametrize(
        ("error", "told"), [(KeyboardInterrupt(), "Interrupted."), (ValueError("student Jane"), "ValueError")]
    )
    def test_another_end_is_kept_without_what_may_be_student_data(self, context, error, told) -> None:
        def search() -> None:
            with recorded_search(context, parameters={}):
                raise error

        with pytest.raises(type(error)):
            search()
        (job,) = with_jobs(context, lambda jobs: jobs.latest(limit=2))
        assert (job.status, job.error) == ("failed", told)


class TestTheCommandLine:
    """`edupulse jobs`, as it is typed."""

    @pytest.fixture
    def edupulse(self, world, tmp_path, monkeypatch):
        for name, value in {
            "EDUPULSE_HOME": str(tmp_path),
            "EDUPULSE_DATABASE_URL": world.urls.app_url,
            "EDUPULSE_REDIS_URL": "unix:///nonexistent",
            "MLFLOW_TRACKING_URI": "sqlite:///nonexistent",
            "EDUPULSE_DISTRICT": world.district,
            "COLUMNS": "200",
        }.items():
            monkeypatch.setenv(name, value)
        return lambda *arguments: CliRunner().invoke(app, arguments)

    def begin(self, world: World, *, heartbeat_at: datetime) -> UUID:
        async def work(database: Database) -> UUID:
            jobs = TrainingJobRepository(database, clock=FixedClock(heartbeat_at))
            run = NewRun(UUID(int=7), "running", "edupulse train", "r", {})
            assert await jobs.claim(run)
            await jobs.hear(run.job_id, News("training (gru)", 3, 50, lines=[RunLine(heartbeat_at, "a line")]))
            return run.job_id

        return world.run(work)

    def test_a_run_is_listed_shown_and_asked_to_stop(self, world, edupulse) -> None:
        job_id = str(self.begin(world, heartbeat_at=datetime.now(UTC)))
        listed = edupulse("list").output
        assert job_id in listed
        assert "training (gru), epoch 3 of at most 50" in listed
        assert "a line" in edupulse("status", job_id).output
        assert edupulse("stop", job_id).output == f"{job_id}: stopping\n"
        assert edupulse("stop", job_id).exit_code == 0
        assert world.values("SELECT outcome FROM audit_log WHERE action = 'train_stop'") == ["stopping"]

    def test_a_queued_run_that_only_ray_knows_of_is_left_queued_until_it_is_stopped(self, world, edupulse) -> None:
        async def work(database: Database) -> str:
            jobs = TrainingJobRepository(database, clock=FixedClock(datetime.now(UTC) - timedelta(hours=1)))
            run = NewRun(UUID(int=8), "queued", "ada", "r", {}, submission_id="edupulse-train-8", request={})
            assert await jobs.claim(run)
            return str(run.job_id)

        job_id = world.run(work)
        assert f"{job_id}: queued" in edupulse("status", job_id).output
        assert edupulse("stop", job_id).output == f"{job_id}: stopped\n"

    def test_a_search_that_was_killed_is_shown_as_failed(self, world, edupulse) -> None:
        async def work(database: Database) -> UUID:
            jobs = TrainingJobRepository(database, clock=FixedClock(datetime.now(UTC) - timedelta(minutes=5)))
            return await jobs.start_search(parameters={})

        job_id = str(world.run(work))
        assert f"{job_id}: failed" in edupulse("status", job_id).output
        assert isinstance(edupulse("stop", job_id).exception, ConflictError)

    def test_a_run_that_nobody_hears_of_is_shown_as_failed_and_cannot_be_stopped(self, world, edupulse) -> None:
        job_id = str(self.begin(world, heartbeat_at=datetime.now(UTC) - timedelta(minutes=5)))
        shown = edupulse("status", job_id).output
        assert f"{job_id}: failed" in shown
        assert "last heard of 5 minutes ago" in shown
        assert isinstance(edupulse("stop", job_id).exception, ConflictError)
