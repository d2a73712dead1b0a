import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from edupulse_ml.core.errors import ConflictError, DependencyDownError, NotFoundError
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.predictions import PostgresPredictionStore
from edupulse_ml.storage.training_jobs import TrainingJobRepository
from tests.fakes.clocks import FixedClock
from tests.fakes.predictions import insufficient, prediction
from tests.fakes.store_world import SCHOOLS, STUDENTS, World, counted_statements


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


def with_store(world: World, work):
    return world.run(lambda database: work(PostgresPredictionStore(database)))


def save(world: World, *answers, actor: str = "token:1") -> None:
    requests = [f"r{number}" for number in range(len(answers))]
    with_store(world, lambda store: store.save(answers, actor=actor, action="predict", request_ids=requests))


def test_a_hundred_answers_are_one_statement(world, monkeypatch):
    save(world, prediction(0))
    answers = [prediction(number, student=f"s{number % 2 + 1}") for number in range(1, 101)]

    async def work(store):
        with counted_statements(monkeypatch) as counter:
            await store.save(answers, actor="a", action="predict", request_ids=["r"] * 100)
        return counter.count

    assert with_store(world, work) == 1
    assert world.values("SELECT count(*) FROM predictions") == [101]
    assert world.values("SELECT count(DISTINCT xmin::text) FROM predictions") == [2]
    batch = "SELECT xmin::text FROM {} GROUP BY xmin::text HAVING count(*) = 100"
    assert world.values(batch.format("predictions")) == world.values(batch.format("audit_log"))


def test_one_audit_row_per_answer(world):
    save(world, prediction(1), insufficient())
    assert world.rows(
        "SELECT actor, action, outcome, request_id, student_key, prediction_id::text FROM audit_log ORDER BY request_id"
    ) == [
        {
            "actor": "token:1",
            "action": "predict",
            "outcome": "scored",
            "request_id": "r0",
            "student_key": 1,
            "prediction_id": "00000000-0000-0000-0000-000000000001",
        },
        {
            "actor": "token:1",
            "action": "predict",
            "outcome": "insufficient_data",
            "request_id": "r1",
            "student_key": 2,
            "prediction_id": None,
        },
    ]


def test_an_unknown_student_stores_nothing_at_all(world):
    with pytest.raises(NotFoundError):
        save(world, prediction(1), prediction(2, student="ghost"))
    assert world.values("SELECT count(*) FROM predictions") == [0]
    assert world.values("SELECT count(*) FROM audit_log") == [0]


def test_a_new_month_makes_its_partition(world):
    for month in (1, 7):
        save(world, prediction(month, created_at=datetime(2031, month, 1, tzinfo=UTC)))
    assert world.values("SELECT DISTINCT tableoid::regclass::text FROM predictions ORDER BY 1") == [
        "partitions.predictions_y2031m01",
        "partitions.predictions_y2031m07",
    ]


def test_a_score_beyond_one_is_refused_and_nothing_stored(world):
    with pytest.raises(Exception, match="SQLSTATE 23514"):
        save(world, prediction(1, risk_score=1.5))
    assert world.values("SELECT count(*) FROM audit_log") == [0]


def test_a_store_that_is_down_is_named(world):
    async def work():
        async with Database(
            "postgresql:///x?host=/nonexistent", district_id=DistrictId("demo"), wait_s=0.2
        ) as database:
            await PostgresPredictionStore(database).history("s1", limit=1)

    with pytest.raises(DependencyDownError) as caught:
        asyncio.run(work())
    assert caught.value.dependency == "postgresql"


def test_other_events_are_audited(world):
    with_store(world, lambda store: store.audit(actor="a", action="login", outcome="refused", request_id="r"))
    assert world.rows("SELECT action, outcome, student_key FROM audit_log") == [
        {"action": "login", "outcome": "refused", "student_key": None}
    ]


def test_another_districts_student_is_unknown(world):
    save(world, prediction(1))
    other = World(world.urls, district="other")
    with pytest.raises(NotFoundError):
        with_store(other, lambda store: store.history("s1", limit=5))


def test_a_killed_backend_in_the_middle_stores_nothing(world):
    async def work(database):
        store = PostgresPredictionStore(database)
        await store.save([prediction(1)], actor="a", action="predict", request_ids=["r"])
        lock = await psycopg.AsyncConnection.connect(world.urls.admin_url)
        await lock.execute("LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE")
        saving = asyncio.create_task(store.save([prediction(2)], actor="a", action="predict", request_ids=["r"]))
        async with await psycopg.AsyncConnection.connect(world.urls.admin_url, autocommit=True) as admin:
            killed = None
            while killed is None:
                cursor = await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND usename = 'edupulse_app' AND datname = current_database()"
                )
                killed = await cursor.fetchone()
        with pytest.raises(DependencyDownError):
            await saving
        await lock.close()

    world.run(work)
    assert world.values("SELECT count(*) FROM predictions") == [1]
    assert world.values("SELECT count(*) FROM audit_log") == [1]


class TestTrainingJobs:
    def test_a_run_that_succeeds_and_one_that_fails(self, world):
        async def work(database):
            jobs = TrainingJobRepository(database, clock=FixedClock())
            good = await jobs.start_search(parameters={"epochs": 2})
            bad = await jobs.start_search(parameters={})
            open_ = await jobs.start_search(parameters={})
            await jobs.succeed(good, model_version="7", summary={"auc": 0.8})
            await jobs.fail(bad, error="too few students")
            return {job.job_id: job for job in await jobs.latest(limit=10)}, good, bad, open_

        jobs, good, bad, open_ = world.run(work)
        assert (jobs[good].status, jobs[good].model_version, jobs[good].summary) == ("succeeded", "7", {"auc": 0.8})
        assert (jobs[bad].status, jobs[bad].error, jobs[bad].model_version) == ("failed", "too few students", None)
        assert (jobs[open_].status, jobs[open_].finished_at) == ("running", None)

    def test_a_run_ends_once(self, world):
        async def work(database):
            jobs = TrainingJobRepository(database, clock=FixedClock())
            job = await jobs.start_search(parameters={})
            await jobs.fail(job, error="x")
            await jobs.fail(job, error="y")

        with pytest.raises(ConflictError):
            world.run(work)
