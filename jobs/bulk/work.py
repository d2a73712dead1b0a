"""What a chunk of work is done by, wherever that runs."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ChunkDone:
    """One chunk is stored. `students` is how many it planned with, `counts` what became of them."""

    students: int
    counts: Mapping[str, int]


class ChunkWorker(Protocol):
    """Does chunks one after another or several at once; each as often as it is asked to, with the same outcome."""

    async def do(self, chunk: Any) -> ChunkDone: ...


class WorkerPlan(Protocol):
    """How to get a worker ready in any process of any node; it and its chunks are pickled."""

    @property
    def student_us(self) -> float:
        """What a student takes, in microseconds of one core, the store's part included; roughly."""
        ...

    def open(self) -> AbstractAsyncContextManager[ChunkWorker]: ...
