import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
import redis
import structlog

from edupulse_ml.cache.answers import RedisAnswerCache
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import DistrictId, StudentId
from edupulse_ml.core.ports import CacheRead, CacheSlot, CacheWrite
from tests.fakes.clocks import FixedClock

SLOT = CacheSlot(StudentId("s-1"), "answer")


def with_cache(url: str, work: Callable[[RedisAnswerCache], Awaitable[object]], *, district="demo", clock=None):
    async def run() -> object:
        async with RedisAnswerCache(url, district_id=DistrictId(district), clock=clock or FixedClock()) as cache:
            return await work(cache)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _empty(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()


def ttl_of(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        (key,) = client.keys("*")
        return client.ttl(key)


def test_time_to_live_is_set_once_and_never_extended(redis_server):
    async def work(cache):
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=50)
        await cache.write([CacheWrite(CacheSlot(SLOT.student_id, "window"), 0, b"y")], ttl_s=5000)

    with_cache(redis_server.url, work)
    assert 0 < ttl_of(redis_server.url) <= 50


def test_a_later_write_may_shorten_the_time_to_live(redis_server):
    async def work(cache):
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=5000)
        await cache.write([CacheWrite(CacheSlot(SLOT.student_id, "window"), 0, b"y")], ttl_s=50)

    with_cache(redis_server.url, work)
    assert 0 < ttl_of(redis_server.url) <= 50


def test_after_a_drop_the_first_write_sets_its_own_time_to_live(redis_server):
    async def work(cache):
        await cache.drop([SLOT.student_id])
        await cache.write([CacheWrite(SLOT, 1, b"x")], ttl_s=50)
        return await cache.read([SLOT])

    assert with_cache(redis_server.url, work) == [CacheRead(b"x", 1)]
    assert 0 < ttl_of(redis_server.url) <= 50


def test_expired_values_are_gone(redis_server):
    async def work(cache):
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=1)
        await asyncio.sleep(1.1)
        return await cache.read([SLOT])

    assert with_cache(redis_server.url, work) == [CacheRead(None, 0)]


def test_keys_hold_no_student_identifier(redis_server):
    with_cache(redis_server.url, lambda cache: cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=60))
    with redis.Redis.from_url(redis_server.url) as client:
        assert all(b"s-1" not in key for key in client.keys("*"))


def test_districts_do_not_share_entries(redis_server):
    with_cache(redis_server.url, lambda cache: cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=60))
    assert with_cache(redis_server.url, lambda cache: cache.read([SLOT]), district="other") == [CacheRead(None, 0)]


@pytest.fixture
def exchanges(monkeypatch) -> list[int]:
    """One entry per message sent to Redis."""
    sent: list[int] = []
    send = redis.asyncio.Connection.send_packed_command

    async def counting(self, *args, **kwargs):
        sent.append(1)
        await send(self, *args, **kwargs)

    monkeypatch.setattr(redis.asyncio.connection.AbstractConnection, "send_packed_command", counting)
    return sent


def test_a_hundred_students_are_one_exchange(redis_server, exchanges):
    slots = [CacheSlot(StudentId(f"s-{number}"), f"answer {number % 2}") for number in range(100)]

    async def work(cache):
        async def once() -> list[int]:
            counts = []
            for call in (
                cache.drop([slot.student_id for slot in slots]),
                cache.write([CacheWrite(slot, 1, b"x") for slot in slots], ttl_s=60),
                cache.read(slots),
            ):
                exchanges.clear()
                await call
                counts.append(len(exchanges))
            return counts

        await once()  # Redis is told the scripts the first time
        return await once()

    assert with_cache(redis_server.url, work) == [1, 1, 1]


def test_a_server_that_forgot_the_scripts_is_told_again(redis_server):
    async def work(cache):
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=60)
        await cache.read([SLOT])
        with redis.Redis.from_url(redis_server.url) as client:
            client.script_flush()
        await cache.write([CacheWrite(SLOT, 0, b"y")], ttl_s=60)
        return await cache.read([SLOT])

    assert with_cache(redis_server.url, work) == [CacheRead(b"y", 0)]


def test_a_write_of_many_students_ignores_those_dropped_since(redis_server):
    slots = [CacheSlot(StudentId(f"s-{number}"), field) for number in range(3) for field in ("answer", "window")]

    async def work(cache):
        await cache.drop([StudentId("s-1")])
        await cache.write([CacheWrite(slot, 0, slot.field.encode()) for slot in slots], ttl_s=60)
        return await cache.read(slots)

    kept = [CacheRead(b"answer", 0), CacheRead(b"window", 0)]
    assert with_cache(redis_server.url, work) == [*kept, CacheRead(None, 1), CacheRead(None, 1), *kept]


def test_more_students_than_one_call_takes(redis_server):
    slots = [CacheSlot(StudentId(f"s-{number}"), "answer") for number in range(2001)]

    async def work(cache):
        await cache.write([CacheWrite(slot, 0, slot.student_id.encode()) for slot in slots], ttl_s=60)
        assert [read.value for read in await cache.read(slots)] == [slot.student_id.encode() for slot in slots]
        await cache.drop([slot.student_id for slot in slots])
        return {read.generation for read in await cache.read(slots)}

    assert with_cache(redis_server.url, work) == {1}


class TestDown:
    @pytest.fixture(autouse=True)
    def _stopped(self, redis_server):
        redis_server.stop()
        yield
        redis_server.start()

    def test_reads_miss_writes_vanish_and_it_is_logged_once_a_minute(self, redis_server):
        clock = FixedClock()

        async def work(cache):
            for _ in range(3):
                assert await cache.read([SLOT, SLOT]) == [CacheRead(None, 0)] * 2
                await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=60)
                clock.advance(timedelta(seconds=2))
            clock.advance(timedelta(minutes=1))
            await cache.read([SLOT])

        with structlog.testing.capture_logs() as lines:
            with_cache(redis_server.url, work, clock=clock)
        assert [line["event"] for line in lines] == ["cache_does_not_answer"] * 2
        assert lines[1]["calls_since_last_line"] == 6
        assert "s-1" not in str(lines)

    def test_drop_and_ping_raise(self, redis_server):
        for call in (lambda cache: cache.drop([SLOT.student_id]), lambda cache: cache.ping()):
            with pytest.raises(DependencyDownError) as caught:
                with_cache(redis_server.url, call)
            assert caught.value.dependency == "redis"


def test_it_comes_back_after_the_pause(redis_server):
    clock = FixedClock()

    async def work(cache):
        redis_server.stop()
        await cache.read([SLOT])
        redis_server.start()
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=60)
        paused = await cache.read([SLOT])
        clock.advance(timedelta(seconds=1))
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=60)
        return paused, await cache.read([SLOT])

    assert with_cache(redis_server.url, work, clock=clock) == ([CacheRead(None, 0)], [CacheRead(b"x", 0)])


def test_a_hung_server_costs_one_timeout(tmp_path):
    async def work():
        writers = []

        async def accept(reader, writer):
            writers.append(writer)

        server = await asyncio.start_unix_server(accept, str(tmp_path / "hung.sock"))
        cache = RedisAnswerCache(
            f"unix://{tmp_path / 'hung.sock'}", district_id=DistrictId("demo"), clock=FixedClock(), timeout_s=0.1
        )
        started = time.monotonic()
        for _ in range(5):
            await cache.read([SLOT])
        elapsed = time.monotonic() - started
        await cache.close()
        for writer in writers:
            writer.close()
        server.close()
        await asyncio.sleep(0)
        return elapsed

    assert asyncio.run(work()) < 1.0
