"""Begins a training run where none is under way, and clears away the one that ended without a word."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError, InvalidInputError
from edupulse_ml.core.training_runs import Ending, RayWord, TrainingJob, ending_of
from edupulse_ml.storage.training_jobs import NewRun

_ATTEMPTS: Final = 3

AskRay = Callable[[TrainingJob], Awaitable[RayWord]]
"""What Ray says of a run's job."""


class TrainingUnderWayError(ConflictError):
    """Another training run of this district has not ended."""


class KeyReusedError(InvalidInputError):
    """The idempotency key belongs to a run that was asked for in other words."""


class Claims(Protocol):
    """What is needed of `storage.training_jobs.TrainingJobRepository`."""

    async def claim(self, run: NewRun) -> bool: ...

    async def with_key(self, key: str) -> TrainingJob | None: ...

    async def under_way(self) -> TrainingJob | None: ...

    async def settle(self, job: TrainingJob, ending: Ending, *, forget_key: bool = False) -> bool: ...

    async def refused(self, *, asked_by: str, request_id: str) -> None: ...


async def claim_run(claims: Claims, run: NewRun, *, ask_ray: AskRay, clock: Clock) -> TrainingJob | None:
    """Keep `run` as the one under way and return None, or return the earlier run that was asked for with the same key
    and the same request. A run that has ended without a word gives way.

    Raises:
        TrainingUnderWayError: another one is under way.
        KeyReusedError: the key was used for another request.
    """
    for _ in range(_ATTEMPTS):
        if await claims.claim(run):
            return None
        earlier = None if run.idempotency_key is None else await claims.with_key(run.idempotency_key)
        if earlier is not None:
            return _same(earlier, run)
        other = await claims.under_way()
        if other is not None and not await clear_away(claims, other, ask_ray=ask_ray, clock=clock):
            await claims.refused(asked_by=run.asked_by, request_id=run.request_id)
            raise TrainingUnderWayError(
                f"Training run {other.job_id} of this district is {other.status}: wait for it to end, or stop it."
            )
    msg = "Training runs of this district began and ended while this one was asked for: ask again."
    raise TrainingUnderWayError(msg)


async def clear_away(claims: Claims, job: TrainingJob, *, ask_ray: AskRay, clock: Clock) -> bool:
    """Keep that `job` has ended, where it ended without a word of its own; whether it has."""
    ending = ending_of(job, ray=await ask_ray(job), now=clock.now()) if job.under_way else None
    if ending is not None:
        await claims.settle(job, ending)
    return ending is not None


def _same(earlier: TrainingJob, run: NewRun) -> TrainingJob:
    if earlier.request_sha256 != run.request_sha256:
        msg = "The Idempotency-Key was used for another request: send a new key with a new request."
        raise KeyReusedError(msg)
    return earlier
