"""Chunks on Ray Data: a pool of actors, one per core, on however many nodes there are.

Only descriptions of chunks travel; what a chunk holds is read and written by the actor that does it, so the object
store stays empty and memory does not grow with the number of students. An actor has at most two chunks assigned; the
others wait. A chunk whose actor or node died is done again.
"""

import asyncio
import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from traceback import extract_tb
from typing import Any, Final

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from edupulse_ml.core import errors
from edupulse_ml.core.errors import DependencyDownError, EduPulseError
from jobs.bulk.work import ChunkDone, ChunkWorker, WorkerPlan

_BLOCKS: Final = 1000
"""Most blocks; beyond it several chunks share one, because the driver keeps a record of each block."""
_IN_FLIGHT_PER_ACTOR: Final = 2


class WorkerFailedError(EduPulseError):
    """A worker met an error that nobody foresaw; only its kind and place are told."""

    title = "Worker failed"


def do_on_ray(plan: WorkerPlan, chunks: Sequence[Any]) -> Iterator[ChunkDone]:
    """Do all chunks and yield them as they are done, in any order. Ray must be connected.

    Raises:
        EduPulseError: the first error of a worker; chunks done before stay done.
        DependencyDownError: the cluster lost more than it could make up for.
    """
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    rows = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    free = ray.available_resources().get("CPU", 0.0)
    done = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS)).map_batches(
        _Doing,
        fn_constructor_args=[plan],
        batch_size=1,
        batch_format="numpy",
        # A stack that serves leaves less than a core free on a small machine; it must still be able to score.
        num_cpus=min(1.0, max(0.01, int(free * 100) / 100)),
        compute=ActorPoolStrategy(
            min_size=1,
            initial_size=max(1, min(len(rows), int(free))),
            max_size=len(rows),
            max_tasks_in_flight_per_actor=_IN_FLIGHT_PER_ACTOR,
        ),
    )
    try:
        for row in done.iter_rows():
            yield _outcome(row["outcome"])
    except RayError as error:
        msg = "Ray could not finish the work: look at its dashboard, then run the same command again to continue."
        raise DependencyDownError(msg, dependency="ray") from error


class _Doing:
    """A worker inside an actor, on an event loop of its own."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()
        self._worker: ChunkWorker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": [pickle.dumps(self._do(pickle.loads(chunk))) for chunk in batch["chunk"]]}  # noqa: S301

    def _do(self, chunk: Any) -> "ChunkDone | _Failure":
        # Errors travel as values: Ray would write their messages, which may hold a value of a record, into its logs.
        try:
            return self._loop.run_until_complete(self._done(chunk))
        except Exception as error:  # noqa: BLE001
            return _Failure(error)

    async def _done(self, chunk: Any) -> ChunkDone:
        if self._worker is None:
            self._worker = await self._open.enter_async_context(self._plan.open())
        return await self._worker.do(chunk)


class _Failure:
    """An error as a family, a message that may be shown, and what the family needs besides."""

    def __init__(self, error: Exception) -> None:
        self._family = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in vars(errors)), "")
        self._dependency = getattr(error, "dependency", "")
        if isinstance(error, EduPulseError):
            self._message = str(error)
        else:
            place = "; ".join(f"{frame.filename}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-3:])
            self._message = f"A worker failed with {type(error).__name__} at {place}: please report it."

    def error(self) -> EduPulseError:
        """The error to raise at the driver."""
        if self._family == DependencyDownError.__name__:
            return DependencyDownError(self._message, dependency=self._dependency)
        family = vars(errors).get(self._family, WorkerFailedError)
        if not isinstance(family, type) or not issubclass(family, EduPulseError) or family is EduPulseError:
            family = WorkerFailedError
        return family(self._message)


def _outcome(pickled: bytes) -> ChunkDone:
    outcome = pickle.loads(pickled)  # noqa: S301
    if isinstance(outcome, _Failure):
        raise outcome.error()
    return outcome
