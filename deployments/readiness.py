"""Asks every server that predictions need."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from deployments.ingress.services import MissingDependency
from deployments.messages import ServedModel
from deployments.model_watch import no_model
from edupulse_ml.core.errors import DependencyDownError

CHECK_TIMEOUT_S = 5.0


class ReplicaReadiness:
    """PostgreSQL, Redis and the model, asked at the same time.

    Args:
        database: Returns if PostgreSQL answers.
        cache: Returns if Redis answers.
        served: What the risk model serves.
        timeout_s: How long an answer may take.
    """

    def __init__(
        self,
        *,
        database: Callable[[], Awaitable[None]],
        cache: Callable[[], Awaitable[None]],
        served: Callable[[], Awaitable[ServedModel]],
        timeout_s: float = CHECK_TIMEOUT_S,
    ) -> None:
        self._database = database
        self._cache = cache
        self._served = served
        self._timeout_s = timeout_s

    async def missing(self) -> Sequence[MissingDependency]:
        """The servers that do not answer in time, each once."""
        checks = (("postgresql", self._database), ("redis", self._cache), ("ray serve", self._model))
        found = await asyncio.gather(*(self._check(name, check) for name, check in checks))
        return [item for item in found if item is not None]

    async def _model(self) -> None:
        served = await self._served()
        if served.version is None:
            raise no_model(served)

    async def _check(self, name: str, check: Callable[[], Awaitable[None]]) -> MissingDependency | None:
        try:
            await asyncio.wait_for(check(), self._timeout_s)
        except DependencyDownError as error:
            return MissingDependency(error.dependency, str(error))
        except TimeoutError:
            return MissingDependency(name, f"{name} did not answer within {self._timeout_s:g} seconds.")
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the replica is not ready, and says where
            return MissingDependency(name, f"{name} answers with an unforeseen {type(error).__name__}.")
        return None
