"""What the gateway knows of the served model."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from deployments.messages import ServedModel
from edupulse_ml.core.errors import MODEL_REGISTRY, DependencyDownError
from edupulse_ml.core.ids import ModelVersion


def no_model(served: ServedModel) -> DependencyDownError:
    """The error for a replica without any model, naming why."""
    why = served.swap_failure or "it is still loading."
    return DependencyDownError(f"No model is served: {why}", dependency=MODEL_REGISTRY)


class ModelWatch:
    """Knows which model is served, asking at most once per `max_age_s`. One replica is asked, so one that has no model yet
    does not take away what the others said.
    """

    def __init__(self, served: Callable[[], Awaitable[ServedModel]], *, max_age_s: float) -> None:
        self._served = served
        self._max_age_s = max_age_s
        self._lock = asyncio.Lock()
        self._known: tuple[float, ModelVersion] | None = None

    async def version(self) -> ModelVersion:
        """The served version.

        Raises:
            DependencyDownError: no model is served, or the replicas do not answer.
        """
        async with self._lock:
            if self._known is None or perf_counter() - self._known[0] > self._max_age_s:
                served = await self._served()
                version = served.version or (self._known[1] if self._known is not None else None)
                if version is None:
                    raise no_model(served)
                self._known = (perf_counter(), version)
            return self._known[1]
