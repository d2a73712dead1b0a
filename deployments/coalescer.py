"""Joins concurrent requests into batches: one call per hop for many callers, and an honest bound on waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from deployments.pace import Pace
from edupulse_ml.core.errors import TooManyRequestsError

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True)
class BatchLimits:
    """Sizes of batches and of the queue in front of them.

    Args:
        max_batch_size: Most items of one call; a caller with more of them gets a call of its own.
        wait_s: How long the first caller of a batch waits for company, in seconds.
        max_concurrent: Batches running at the same time.
        max_waiting: Items that may wait; one more is refused.
        max_wait_s: How long items may wait at the pace measured under load, in seconds; more items are refused.
    """

    max_batch_size: int = 64
    wait_s: float = 0.001
    max_concurrent: int = 4
    max_waiting: int = 512
    max_wait_s: float = 1.0


class Coalescer(Generic[Q, A]):
    """Collects items for a moment and hands them to `handle` together.

    While `max_concurrent` batches are running, arriving items wait and fill the next one, so batches grow with the
    load and a lone caller waits no longer than `wait_s`. The items of one caller stay together. Those of a caller that
    goes away leave the queue at once. Belongs to one event loop.

    Args:
        handle: Answers a batch, one answer per item in the same order; must end in time, because a worker waits for it.
        limits: Sizes of batches and of the queue.
    """

    def __init__(
        self, handle: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], limits: BatchLimits = BatchLimits()
    ) -> None:
        self._handle = handle
        self._limits = limits
        self._pace = Pace(max_wait_s=limits.max_wait_s, least=limits.max_batch_size * limits.max_concurrent)
        self._waiting: dict[asyncio.Future[Sequence[A]], Sequence[Q]] = {}  # in the order of arrival
        self._waiting_items = 0
        self._running = 0
        self._workers: set[asyncio.Task[None]] = set()  # asyncio itself keeps no strong reference to them

    async def submit(self, item: Q) -> A:
        """The answer to `item`; raises as `submit_many` does."""
        (answer,) = await self.submit_many((item,))
        return answer

    async def submit_many(self, items: Sequence[Q]) -> Sequence[A]:
        """The answers to one caller's items, in their order.

        Raises:
            TooManyRequestsError: as many items wait already as may, or as can be answered within `max_wait_s`.
        """
        if self._waiting and self._waiting_items + len(items) > min(self._limits.max_waiting, self._pace.room()):
            msg = "The service has as much work as it can finish in time: ask again in a second."
            raise TooManyRequestsError(msg, retry_after_s=1.0)
        future: asyncio.Future[Sequence[A]] = asyncio.get_running_loop().create_future()
        self._waiting[future] = items
        self._waiting_items += len(items)
        if self._running < self._limits.max_concurrent:
            self._running += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        try:
            return await future
        finally:
            self._forget(future)

    def _forget(self, future: asyncio.Future[Sequence[A]]) -> Sequence[Q]:
        items = self._waiting.pop(future, ())
        self._waiting_items -= len(items)
        return items

    async def _work(self) -> None:
        try:
            await asyncio.sleep(self._limits.wait_s)
            while self._waiting:
                taken = self._take()
                await self._run(taken)
                self._pace.done(sum(len(items) for items, _ in taken), waiting=self._waiting_items)
        finally:
            # In the same step as the look at the queue: an item that arrives after it must find the place free.
            self._running -= 1

    def _take(self) -> list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]]:
        taken: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]] = []
        room = self._limits.max_batch_size
        while self._waiting:
            future = next(iter(self._waiting))
            if taken and len(self._waiting[future]) > room:
                break
            items = self._forget(future)
            if not future.done():  # the caller went away in this very step
                taken.append((items, future))
                room -= len(items)
        return taken

    async def _run(self, taken: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]]) -> None:
        if not taken:
            return
        try:
            answers = await self._handle([item for items, _ in taken for item in items])
            if len(answers) != sum(len(items) for items, _ in taken):
                msg = "A batch was answered with another number of answers than it has questions."
                raise ValueError(msg)  # noqa: TRY301 - it reaches the callers as any other failure does
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller of this batch must hear of it
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        except asyncio.CancelledError:
            for _, future in taken:
                future.cancel()
            raise
        start = 0
        for items, future in taken:
            if not future.done():
                future.set_result(answers[start : start + len(items)])
            start += len(items)
