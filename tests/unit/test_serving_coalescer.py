"""Concurrent single requests become one call."""

import asyncio
from collections.abc import Sequence

import pytest

from deployments.coalescer import BatchLimits, Coalescer
from edupulse_ml.core.errors import NotFoundError, TooManyRequestsError


class Doubler:
    def __init__(self, *, gate: asyncio.Event | None = None, error: Exception | None = None) -> None:
        self.calls: list[list[int]] = []
        self.running = 0
        self.most_running = 0
        self.gate = gate
        self.error = error

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        if self.gate is not None:
            await self.gate.wait()
        self.running -= 1
        if self.error is not None:
            raise self.error
        return [2 * item for item in items]


def test_concurrent_items_share_one_call_and_each_gets_its_own_answer() -> None:
    async def scenario() -> tuple[list[int], Doubler]:
        handle = Doubler()
        coalescer: Coalescer[int, int] = Coalescer(handle)
        return await asyncio.gather(*(coalescer.submit(i) for i in range(50))), handle

    answers, handle = asyncio.run(scenario())
    assert answers == [2 * i for i in range(50)]
    assert len(handle.calls) == 1


def test_a_batch_never_exceeds_its_limit() -> None:
    async def scenario() -> Doubler:
        handle = Doubler()
        coalescer: Coalescer[int, int] = Coalescer(handle, BatchLimits(max_batch_size=8))
        await asyncio.gather(*(coalescer.submit(i) for i in range(20)))
        return handle

    assert [len(call) for call in asyncio.run(scenario()).calls] == [8, 8, 4]


def test_batches_fill_while_others_run() -> None:
    async def scenario() -> Doubler:
        handle = Doubler(gate=asyncio.Event())
        coalescer: Coalescer[int, int] = Coalescer(handle, BatchLimits(max_concurrent=2, wait_s=0))
        tasks = []
        for i in range(6):
            tasks.append(asyncio.create_task(coalescer.submit(i)))
            await asyncio.sleep(0.002)
        assert handle.gate is not None
        handle.gate.set()
        await asyncio.gather(*tasks)
        return handle

    handle = asyncio.run(scenario())
    assert handle.calls == [[0], [1], [2, 3, 4, 5]]
    assert handle.most_running == 2


def test_a_failure_reaches_every_caller_of_the_batch_and_the_next_batch_works() -> None:
    async def scenario() -> tuple[list[object], int]:
        handle = Doubler(error=NotFoundError("gone"))
        coalescer: Coalescer[int, int] = Coalescer(handle)
        failed = await asyncio.gather(*(coalescer.submit(i) for i in range(3)), return_exceptions=True)
        handle.error = None
        return list(failed), await coalescer.submit(21)

    failed, answer = asyncio.run(scenario())
    assert [type(error) for error in failed] == [NotFoundError] * 3
    assert answer == 42


def test_too_many_waiting_items_are_refused_with_a_time_to_come_back() -> None:
    async def scenario() -> None:
        handle = Doubler(gate=asyncio.Event())
        coalescer: Coalescer[int, int] = Coalescer(handle, BatchLimits(max_waiting=3, wait_s=0.01))
        tasks = [asyncio.create_task(coalescer.submit(i)) for i in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequestsError) as refused:
            await coalescer.submit(4)
        assert refused.value.retry_after_s == 1.0
        assert handle.gate is not None
        handle.gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4]

    asyncio.run(scenario())


def test_a_caller_that_went_away_is_not_worked_for() -> None:
    async def scenario() -> Doubler:
        handle = Doubler()
        coalescer: Coalescer[int, int] = Coalescer(handle, BatchLimits(wait_s=0.01))
        gone, stays = asyncio.create_task(coalescer.submit(1)), asyncio.create_task(coalescer.submit(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 4
        return handle

    assert asyncio.run(scenario()).calls == [[2]]


def test_a_wrong_number_of_answers_is_an_error_and_not_a_mixed_up_student() -> None:
    async def short(items: Sequence[int]) -> Sequence[int]:
        return list(items)[:-1]

    async def scenario() -> list[object]:
        coalescer: Coalescer[int, int] = Coalescer(short)
        return list(await asyncio.gather(coalescer.submit(1), coalescer.submit(2), return_exceptions=True))

    assert all(isinstance(answer, ValueError) for answer in asyncio.run(scenario()))


def test_an_item_that_arrives_in_the_turn_in_which_a_worker_ends_gets_a_worker() -> None:
    async def scenario() -> list[int]:
        coalescer: Coalescer[int, int] = Coalescer(Doubler(), BatchLimits(max_concurrent=1, wait_s=0))

        async def one_after_the_other() -> list[int]:
            return [await coalescer.submit(item) for item in range(20)]

        return await asyncio.wait_for(one_after_the_other(), timeout=2)

    assert asyncio.run(scenario()) == [2 * item for item in range(20)]


def test_callers_that_went_away_leave_room_while_the_worker_is_busy() -> None:
    async def scenario() -> list[list[int]]:
        handle = Doubler(gate=asyncio.Event())
        coalescer: Coalescer[int, int] = Coalescer(handle, BatchLimits(max_concurrent=1, max_waiting=3, wait_s=0))
        running = asyncio.create_task(coalescer.submit(0))
        await asyncio.sleep(0.01)
        gone = [asyncio.create_task(coalescer.submit(i)) for i in (1, 2, 3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.sleep(0)
        stays = asyncio.create_task(coalescer.submit(4))
        await asyncio.sleep(0)
        assert handle.gate is not None
        handle.gate.set()
        assert await asyncio.gather(running, stays) == [0, 8]
        return handle.calls

    assert asyncio.run(scenario()) == [[0], [4]]


def test_the_items_of_one_caller_stay_together_and_join_those_of_others() -> None:
    async def scenario() -> tuple[list[object], Doubler]:
        handle = Doubler()
        coalescer: Coalescer[int, int] = Coalescer(handle, BatchLimits(max_batch_size=4))
        answers = await asyncio.gather(
            coalescer.submit_many([1, 2, 3]),
            coalescer.submit(4),
            coalescer.submit_many([5, 6]),
            coalescer.submit_many([7, 8, 9]),
            coalescer.submit_many(range(20, 30)),
            coalescer.submit(10),
        )
        return list(answers), handle

    answers, handle = asyncio.run(scenario())
    assert answers == [[2, 4, 6], 8, [10, 12], [14, 16, 18], list(range(40, 60, 2)), 20]
    assert handle.calls == [[1, 2, 3, 4], [5, 6], [7, 8, 9], list(range(20, 30)), [10]]


def test_items_of_large_callers_are_counted_each_and_one_large_caller_is_let_in() -> None:
    async def scenario() -> None:
        handle = Doubler(gate=asyncio.Event())
        limits = BatchLimits(max_batch_size=2, max_concurrent=1, max_waiting=10, wait_s=0)
        coalescer: Coalescer[int, int] = Coalescer(handle, limits)
        running = asyncio.create_task(coalescer.submit(0))
        await asyncio.sleep(0.005)
        large = asyncio.create_task(coalescer.submit_many(range(12)))
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequestsError):
            await coalescer.submit(1)
        large.cancel()
        await asyncio.sleep(0)
        admitted = asyncio.create_task(coalescer.submit_many(range(10)))
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequestsError):
            await coalescer.submit(1)
        assert handle.gate is not None
        handle.gate.set()
        assert await running == 0
        assert len(await admitted) == 10

    asyncio.run(scenario())


def test_at_a_slow_pace_fewer_may_wait_and_at_a_quick_one_more_again() -> None:
    async def scenario() -> tuple[int, int]:
        pause_s = 0.05

        async def handle(items: Sequence[int]) -> Sequence[int]:
            await asyncio.sleep(pause_s * len(items))
            return items

        limits = BatchLimits(max_batch_size=1, max_concurrent=1, max_waiting=100, max_wait_s=0.2, wait_s=0)
        coalescer: Coalescer[int, int] = Coalescer(handle, limits)

        async def admitted(offered: int) -> int:
            answers = await asyncio.gather(*(coalescer.submit(i) for i in range(offered)), return_exceptions=True)
            return sum(not isinstance(answer, TooManyRequestsError) for answer in answers)

        await admitted(6)  # it learns its pace
        slow = await admitted(100)
        pause_s = 0.0
        for _ in range(20):
            await admitted(4)
        return slow, await admitted(100)

    slow, quick = asyncio.run(scenario())
    assert 1 <= slow <= 8, "0.2 seconds at 0.05 seconds per item"
    assert quick == 100
