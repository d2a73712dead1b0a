"""Does chunks in this process, or on Ray where there are enough of them to be worth its start."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, Final, Literal

from edupulse_ml.config.settings import Settings
from jobs.bulk.work import ChunkDone, ChunkWorker, WorkerPlan
from jobs.stack.paths import StackPaths
from jobs.wiring import connected_to_ray

Place = Literal["auto", "here", "ray"]

WORTH_RAY_S: Final = 60.0
"""Work in seconds of one core below which `auto` stays in this process: on two cores, Ray and its workers take 15 to
20 s to get ready."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_for_ray(place: Place, *, students: int, student_us: float) -> bool:
    """Whether so many students are done on Ray; `auto` decides by what they take, `student_us` microseconds each."""
    return place == "ray" or (place == "auto" and students * student_us >= WORTH_RAY_S * 1e6)


async def do_chunks(
    plan: WorkerPlan, chunks: Sequence[Any], *, place: Place, settings: Settings, on_done: Callable[[ChunkDone], None]
) -> None:
    """Do all chunks, which say how many `students` they hold; `on_done` hears of each.

    Raises:
        EduPulseError: the first error; chunks done before stay done.
    """
    if not chunks:
        return
    if is_for_ray(place, students=sum(chunk.students for chunk in chunks), student_us=plan.student_us):
        StackPaths.of(settings.home).make()  # Ray's token is kept there
        with connected_to_ray(settings, needed=True):
            from jobs.bulk.on_ray import do_on_ray

            done = do_on_ray(plan, chunks)
            while (one := await asyncio.to_thread(_next, done)) is not None:
                on_done(one)
        return
    async with plan.open() as worker:
        async for one in do_here(worker, chunks, at_once=cores()):
            on_done(one)


async def do_here(worker: ChunkWorker, chunks: Sequence[Any], *, at_once: int) -> AsyncGenerator[ChunkDone, None]:
    """Do all chunks on this event loop, at most `at_once` begun and not done at any time.

    Raises:
        EduPulseError: the first error; the chunks under way are cancelled.
    """
    waiting = iter(chunks)
    running: set[asyncio.Task[ChunkDone]] = set()
    try:
        while True:
            for chunk in waiting:
                running.add(asyncio.create_task(worker.do(chunk)))
                if len(running) >= at_once:
                    break
            if not running:
                return
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _next(done: Iterator[ChunkDone]) -> ChunkDone | None:
    return next(done, None)
