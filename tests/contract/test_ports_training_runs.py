"""The store of training runs: the fake and PostgreSQL do the same."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.core.training_runs import MAX_LINES, STOPPED, Ending, RunLine
from edupulse_ml.storage.training_claims import TrainingUnderWayError, claim_run
from edupulse_ml.storage.training_jobs import NewRun, News, TrainingJobRepository
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW, World
from tests.fakes.training import FakeRunStore


class Fake:
    """Runs work against the fake."""

    def __init__(self) -> None:
        self.clock = FixedClock(NOW)
        self.store = FakeRunStore(self.clock)

    def run(self, work):
        return asyncio.run(work(self.store))

    def audited(self) -> list[tuple[str, str, str]]:
        return self.store.audit


class Real:
    """Runs work against PostgreSQL, on a pool of its own each time."""

    def __init__(self, urls) -> None:
        self.world = World(urls)
        self.clock = self.world.clock

    def run(self, work):
        return self.world.run(lambda database: work(TrainingJobRepository(database, clock=self.clock)))

    def audited(self) -> list[tuple[str, str, str]]:
        rows = self.world.rows("SELECT actor, action, outcome FROM audit_log ORDER BY at")
        return [(row["actor"], row["action"], row["outcome"]) for row in rows]


@pytest.fixture(params=["fake", "postgresql"])
def side(request):
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("database_urls"))


def queued(number: int, *, key: str | None = None, sha256: str = "a") -> NewRun:
    request = {"strategy": "gru", "seed": number}
    return NewRun(
        job_id=UUID(int=number),
        status="queued",
        asked_by="ada",
        request_id=f"r{number}",
        parameters=request,
        submission_id=f"edupulse-train-{number}",
        request=request,
        request_sha256=sha256,
        idempotency_key=key,
        run_name=None,
    )


def on_command_line(number: int) -> NewRun:
    return NewRun(UUID(int=number), "running", "edupulse train", f"r{number}", {"epochs": 2})


def test_a_claimed_run_comes_back_as_it_was_asked_for(side):
    assert side.run(lambda store: store.claim(queued(1, key="k")))
    for look in (lambda store: store.find(UUID(int=1)), lambda store: store.with_key("k"), lambda s: s.under_way()):
        job = side.run(look)
        assert (job.status, job.kind, job.queued_at, job.heartbeat_at) == ("queued", "train", NOW, NOW)
        assert (job.request, job.request_sha256) == ({"strategy": "gru", "seed": 1}, "a")
        assert (job.submission_id, job.run_name, job.lines, job.metrics) == ("edupulse-train-1", None, (), None)
    assert side.audited() == [("ada", "train_start", "queued")]


def test_while_one_is_under_way_no_other_is_kept_or_audited(side):
    assert side.run(lambda store: store.claim(queued(1)))
    assert not side.run(lambda store: store.claim(queued(2)))
    assert not side.run(lambda store: store.claim(on_command_line(3)))
    for number in (2, 3):
        with pytest.raises(NotFoundError):
            side.run(lambda store, number=number: store.find(UUID(int=number)))
    assert side.audited() == [("ada", "train_start", "queued")]


def test_a_key_is_taken_also_after_the_end_of_its_run_unless_it_is_forgotten(side):
    async def work(store):
        await store.claim(queued(1, key="k"))
        await store.settle(await store.find(UUID(int=1)), Ending("failed", "Gone."))
        taken = await store.claim(queued(2, key="k"))
        await store.claim(queued(3, key="l"))
        await store.settle(await store.find(UUID(int=3)), Ending("failed", "Gone."), forget_key=True)
        return taken, await store.claim(queued(4, key="l"))

    assert side.run(work) == (False, True)


def test_a_run_is_taken_up_once(side):
    async def work(store):
        await store.claim(queued(1))
        side.clock.advance(timedelta(minutes=1))
        job = await store.take_up(UUID(int=1))
        for number in (1, 9):
            with pytest.raises(ConflictError):
                await store.take_up(UUID(int=number))
        return job

    job = side.run(work)
    assert (job.status, job.queued_at) == ("running", NOW)
    assert job.started_at == job.heartbeat_at == NOW + timedelta(minutes=1)


def test_what_a_run_says_is_kept_and_lines_are_added(side):
    async def work(store):
        await store.claim(on_command_line(1))
        first = await store.hear(UUID(int=1), News("training (gru)", 1, 50, {"loss": 0.5}, [RunLine(NOW, "one")]))
        side.clock.advance(timedelta(seconds=10))
        second = await store.hear(UUID(int=1), News(epoch=2, of_epochs=50, lines=[RunLine(NOW, "two")]))
        return first, second, await store.find(UUID(int=1))

    first, second, job = side.run(work)
    assert (first, second) == ("running", "running")
    assert (job.step, job.epoch, job.of_epochs, job.metrics) == ("training (gru)", 2, 50, {"loss": 0.5})
    assert [line.text for line in job.lines] == ["one", "two"]
    assert job.heartbeat_at == NOW + timedelta(seconds=10)


def test_only_the_latest_lines_are_kept_in_their_order(side):
    async def work(store):
        await store.claim(on_command_line(1))
        for start in (0, MAX_LINES - 10):
            lines = [RunLine(NOW, str(number)) for number in range(start, start + MAX_LINES - 10)]
            await store.hear(UUID(int=1), News(lines=lines))
        return (await store.find(UUID(int=1))).lines

    total = 2 * (MAX_LINES - 10)
    assert [line.text for line in side.run(work)] == [str(number) for number in range(total - MAX_LINES, total)]


def test_a_run_learns_that_it_is_to_stop_and_that_it_was_given_up(side):
    async def work(store):
        await store.claim(on_command_line(1))
        asked = await store.ask_to_stop(UUID(int=1), asked_by="bob", request_id="r")
        again = await store.ask_to_stop(UUID(int=1), asked_by="bob", request_id="r")
        told = await store.hear(UUID(int=1), News())
        await store.settle(await store.find(UUID(int=1)), Ending("stopped", STOPPED))
        return asked, again, told, await store.hear(UUID(int=1), News())

    assert side.run(work) == (True, False, "stopping", None)
    assert side.audited() == [("edupulse train", "train_start", "running"), ("bob", "train_stop", "stopping")]


def test_a_queued_run_that_is_to_stop_has_ended(side):
    async def work(store):
        await store.claim(queued(1))
        await store.ask_to_stop(UUID(int=1), asked_by="bob", request_id="r")
        with pytest.raises(ConflictError):
            await store.take_up(UUID(int=1))
        return await store.find(UUID(int=1)), await store.claim(queued(2))

    job, next_one = side.run(work)
    assert (job.status, job.error, job.finished_at) == ("stopped", STOPPED, NOW)
    assert next_one


def test_whoever_settles_what_has_changed_meanwhile_changes_nothing(side):
    async def work(store):
        await store.claim(queued(1))
        before = await store.find(UUID(int=1))
        await store.take_up(UUID(int=1))
        return await store.settle(before, Ending("failed", "Gone.")), await store.find(UUID(int=1))

    settled, job = side.run(work)
    assert (settled, job.status) == (False, "running")


def test_a_start_after_a_run_that_nobody_hears_of_clears_it_away(side):
    async def word(_job):
        return "unknown"

    async def work(store):
        await store.claim(on_command_line(1))
        with pytest.raises(TrainingUnderWayError, match=str(UUID(int=1))):
            await claim_run(store, queued(2), ask_ray=word, clock=side.clock)
        side.clock.advance(timedelta(minutes=3))
        assert await claim_run(store, queued(2), ask_ray=word, clock=side.clock) is None
        return await store.find(UUID(int=1)), await store.find(UUID(int=2))

    lost, next_one = side.run(work)
    assert (lost.status, next_one.status) == ("failed", "queued")
    assert "last heard of 3 minutes ago" in lost.error
    assert [outcome for _, _, outcome in side.audited()] == ["running", "refused", "queued"]


def test_a_run_name_is_known(side):
    async def work(store):
        await store.claim(replace(queued(1), run_name="train-1"))
        return await store.knows_run_name("train-1"), await store.knows_run_name("train-2")

    assert side.run(work) == (True, False)


def test_runs_like_this_one_tell_how_long_they_took(side):
    async def work(store):
        for number, seconds in ((1, 60), (2, 90)):
            await store.claim(queued(number))
            await store.take_up(UUID(int=number))
            side.clock.advance(timedelta(seconds=seconds))
            await store.succeed(UUID(int=number), model_version="1", summary={})
        await store.claim(queued(3))
        return await store.seconds_of_runs_like(UUID(int=3))

    assert sorted(side.run(work)) == [60.0, 90.0]
