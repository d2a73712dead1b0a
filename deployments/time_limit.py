"""Bounds work in time, also where the server behind it hangs and cancelling does not end the wait."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from edupulse_ml.core.errors import DependencyDownError

T = TypeVar("T")


class NoAnswerInTimeError(DependencyDownError):
    """A server accepted the work and did not answer in time."""


@dataclass
class Waiting:
    """The server that a piece of work waits for at this moment; the work keeps it up to date."""

    dependency: str


class TimeLimit:
    """At most `timeout_s` seconds for a piece of work. Belongs to one event loop.

    Args:
        timeout_s: Longest wait, in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._cancelled: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], waiting: Waiting) -> T:
        """The result of `work`. Where this raises or is cancelled, `work` was cancelled and is not waited for: a
        database driver takes seconds to give up a connection to a server that hangs.

        Raises:
            NoAnswerInTimeError: it was not done in time; names what `waiting` says.
        """
        task = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            self._give_up(task)
            raise
        if not done:
            self._give_up(task)
            msg = f"{waiting.dependency} did not answer within {self._timeout_s:g} seconds: see whether it hangs."
            raise NoAnswerInTimeError(msg, dependency=waiting.dependency)
        return task.result()

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._cancelled.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._cancelled.discard(task)
        if not task.cancelled():
            task.exception()  # asking for it keeps asyncio from logging an error that nobody waits for
