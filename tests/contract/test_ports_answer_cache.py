import asyncio
from collections.abc import Callable

import pytest

from edupulse_ml.cache.answers import RedisAnswerCache
from edupulse_ml.core.ids import DistrictId, StudentId
from edupulse_ml.core.ports import AnswerCache, CacheRead, CacheSlot, CacheWrite
from tests.fakes.clocks import FixedClock
from tests.fakes.stores import FakeAnswerCache

ANNA, BEN = StudentId("anna"), StudentId("ben")
SLOT = CacheSlot(ANNA, "answer")


@pytest.fixture(params=["fake", "redis"])
def make_cache(request, monkeypatch) -> Callable[[], AnswerCache]:
    if request.param == "fake":
        return FakeAnswerCache
    url = request.getfixturevalue("redis_server").url
    district = DistrictId(f"d{abs(hash(request.node.name)) % 10**9}")
    return lambda: RedisAnswerCache(url, district_id=district, clock=FixedClock())


def run(make_cache, work):
    async def main():
        cache = make_cache()
        try:
            return await work(cache)
        finally:
            if isinstance(cache, RedisAnswerCache):
                await cache.close()

    return asyncio.run(main())


def test_nothing_cached_reads_as_none(make_cache):
    assert run(make_cache, lambda cache: cache.read([SLOT])) == [CacheRead(None, 0)]


def test_no_slots_is_no_answer(make_cache):
    assert list(run(make_cache, lambda cache: cache.read([]))) == []


def test_values_come_back_in_the_order_asked(make_cache):
    other, window = CacheSlot(BEN, "answer"), CacheSlot(ANNA, "window")

    async def work(cache):
        await cache.write(
            [CacheWrite(SLOT, 0, b"1"), CacheWrite(other, 0, b"\x00\xff"), CacheWrite(window, 0, b"")], ttl_s=60
        )
        return await cache.read([window, SLOT, other, SLOT])

    values = [read.value for read in run(make_cache, work)]
    assert values == [b"", b"1", b"\x00\xff", b"1"]


def test_drop_forgets_every_field_of_these_students_only(make_cache):
    slots = [SLOT, CacheSlot(ANNA, "window"), CacheSlot(BEN, "answer")]

    async def work(cache):
        await cache.write([CacheWrite(slot, 0, b"x") for slot in slots], ttl_s=60)
        await cache.drop([ANNA])
        return await cache.read(slots)

    assert [read.value for read in run(make_cache, work)] == [None, None, b"x"]


def test_a_write_computed_before_a_drop_is_ignored(make_cache):
    async def work(cache):
        (before,) = await cache.read([SLOT])
        await cache.drop([ANNA])
        await cache.write([CacheWrite(SLOT, before.generation, b"stale")], ttl_s=60)
        (after,) = await cache.read([SLOT])
        await cache.write([CacheWrite(SLOT, after.generation, b"fresh")], ttl_s=60)
        return before, after, (await cache.read([SLOT]))[0]

    before, after, last = run(make_cache, work)
    assert after.value is None
    assert after.generation != before.generation
    assert last == CacheRead(b"fresh", after.generation)


def test_a_field_named_like_the_generation_does_no_harm(make_cache):
    slot = CacheSlot(ANNA, "g")

    async def work(cache):
        await cache.write([CacheWrite(slot, 0, b"7")], ttl_s=60)
        return await cache.read([slot])

    assert run(make_cache, work) == [CacheRead(b"7", 0)]


def test_a_time_to_live_of_zero_stores_nothing(make_cache):
    async def work(cache):
        await cache.write([CacheWrite(SLOT, 0, b"x")], ttl_s=0)
        return await cache.read([SLOT])

    assert run(make_cache, work)[0].value is None


def test_ping_answers(make_cache):
    run(make_cache, lambda cache: cache.ping())
