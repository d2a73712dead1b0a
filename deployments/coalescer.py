"""Joins concurrent single requests into batches: one call per hop for many callers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from edupulse_ml.core.errors import TooManyRequestsError

Q = TypeVar("Q")
A = TypeVar("A")


class Coalescer(Generic[Q, A]):
    """Collects items for a moment and hands them to `handle` together.

    While `max_concurrent` batches are running, arriving items wait and fill the next one, so batches grow with the
    load and a lone caller waits no longer than `wait_s`. An item whose caller goes away leaves the queue at once.
    Belongs to one event loop.

    Args:
        handle: Answers a batch, one answer per item in the same order; must end in time, because a worker waits for it.
        max_batch_size: Most items of one call.
        wait_s: How long the first item of a batch waits for company, in seconds.
        max_concurrent: Batches running at the same time.
        max_waiting: Items that may wait; one more is refused.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        max_batch_size: int = 64,
        wait_s: float = 0.001,
        max_concurrent: int = 4,
        max_waiting: int = 512,
    ) -> None:
        self._handle = handle
        self._max_batch_size = max_batch_size
        self._wait_s = wait_s
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._waiting: dict[asyncio.Future[A], Q] = {}  # in the order of arrival
        self._running = 0
        self._workers: set[asyncio.Task[None]] = set()  # asyncio itself keeps no strong reference to them

    async def submit(self, item: Q) -> A:
        """The answer to `item`.

        Raises:
            TooManyRequestsError: `max_waiting` items wait already.
        """
        if len(self._waiting) >= self._max_waiting:
            msg = "The service has as much work as it can finish in time: ask again in a second."
            raise TooManyRequestsError(msg, retry_after_s=1.0)
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting[future] = item
        if self._running < self._max_concurrent:
            self._running += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    async def _work(self) -> None:
        try:
            await asyncio.sleep(self._wait_s)
            while self._waiting:
                await self._run(self._take())
        finally:
            # In the same step as the look at the queue: an item that arrives after it must find the place free.
            self._running -= 1

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        taken: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(taken) < self._max_batch_size:
            future = next(iter(self._waiting))
            item = self._waiting.pop(future)
            if not future.done():  # the caller went away in this very step
                taken.append((item, future))
        return taken

    async def _run(self, taken: list[tuple[Q, asyncio.Future[A]]]) -> None:
        if not taken:
            return
        try:
            answers = await self._handle([item for item, _ in taken])
            pairs = list(zip(taken, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller of this batch must hear of it
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        except asyncio.CancelledError:
            for _, future in taken:
                future.cancel()
            raise
        for (_, future), answer in pairs:
            if not future.done():
                future.set_result(answer)
