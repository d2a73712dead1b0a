"""Training runs of a database that may hang: each question to it is bounded in time."""

from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.training_runs import Ending, TrainingJob
from edupulse_ml.storage.training_claims import Claims
from edupulse_ml.storage.training_jobs import NewRun

_POSTGRESQL: Final = "postgresql"
_Result = TypeVar("_Result")


class RunStore(Claims, Protocol):
    """What is needed of `storage.training_jobs.TrainingJobRepository`."""

    async def find(self, job_id: UUID) -> TrainingJob: ...

    async def knows_run_name(self, run_name: str) -> bool: ...

    async def ask_to_stop(self, job_id: UUID, *, asked_by: str, request_id: str) -> bool: ...

    async def seconds_of_runs_like(self, job_id: UUID) -> Sequence[float]: ...


class TimedRuns:
    """A `RunStore` whose methods raise `NoAnswerInTimeError` where the answer takes longer than the caller waits. What was
    to be written may have been written all the same.

    Args:
        runs: The store.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(self, runs: RunStore, *, timeout_s: float) -> None:
        self._runs = runs
        self._limit = TimeLimit(timeout_s)

    async def find(self, job_id: UUID) -> TrainingJob:
        """One run; raises `NotFoundError`."""
        return await self._timed(self._runs.find(job_id))

    async def knows_run_name(self, run_name: str) -> bool:
        """Whether a run of the district keeps, or has kept, checkpoints under this name."""
        return await self._timed(self._runs.knows_run_name(run_name))

    async def ask_to_stop(self, job_id: UUID, *, asked_by: str, request_id: str) -> bool:
        """End a queued run, or tell a running one to end; False where neither is to be done."""
        return await self._timed(self._runs.ask_to_stop(job_id, asked_by=asked_by, request_id=request_id))

    async def seconds_of_runs_like(self, job_id: UUID) -> Sequence[float]:
        """What the last runs took that were asked for the same, in seconds."""
        return await self._timed(self._runs.seconds_of_runs_like(job_id))

    async def claim(self, run: NewRun) -> bool:
        """Keep `run`; False where another one is under way, or one with its key is known."""
        return await self._timed(self._runs.claim(run))

    async def with_key(self, key: str) -> TrainingJob | None:
        """The run that was asked for with this idempotency key."""
        return await self._timed(self._runs.with_key(key))

    async def under_way(self) -> TrainingJob | None:
        """The run that the next one has to wait for."""
        return await self._timed(self._runs.under_way())

    async def settle(self, job: TrainingJob, ending: Ending, *, forget_key: bool = False) -> bool:
        """Keep how `job` ended; False where its row has changed since `job` was read."""
        return await self._timed(self._runs.settle(job, ending, forget_key=forget_key))

    async def refused(self, *, asked_by: str, request_id: str) -> None:
        """Audit that a run was asked for and not begun."""
        await self._timed(self._runs.refused(asked_by=asked_by, request_id=request_id))

    async def _timed(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return await self._limit.run(work, Waiting(_POSTGRESQL))
