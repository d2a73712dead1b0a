"""Asks every server that predictions need."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from deployments.ingress.services import MissingDependency
from deployments.messages import ServedModel
from deployments.model_watch import no_model
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.errors import DependencyDownError

CHECK_TIMEOUT_S = 5.0


class ReplicaReadiness:
    """PostgreSQL, Redis, the feature fetcher and the model, asked at the same time.

    Args:
        database: Returns if PostgreSQL answers.
        cache: Returns if Redis answers.
        fetcher: Returns if the feature fetcher reads the district.
        served: What the risk model serves.
        timeout_s: How long an answer may take.
    """

    def __init__(
        self,
        *,
        database: Callable[[], Awaitable[None]],
        cache: Callable[[], Awaitable[None]],
        fetcher: Callable[[], Awaitable[None]],
        served: Callable[[], Awaitable[ServedModel]],
        timeout_s: float = CHECK_TIMEOUT_S,
    ) -> None:
        self._database = database
        self._cache = cache
        self._fetcher = fetcher
        self._served = served
        self._limit = TimeLimit(timeout_s)

    async def missing(self) -> Sequence[MissingDependency]:
        """The servers that do not answer in time, each once."""
        checks = (
            ("postgresql", self._database),
            ("redis", self._cache),
            ("ray serve", self._fetcher),
            ("ray serve", self._model),
        )
        found = await asyncio.gather(*(self._check(name, check) for name, check in checks))
        named: dict[str, MissingDependency] = {}
        for item in found:
            if item is not None:
                named.setdefault(item.name, item)
        return list(named.values())

    async def _model(self) -> None:
        served = await self._served()
        if served.version is None:
            raise no_model(served)

    async def _check(self, name: str, check: Callable[[], Awaitable[None]]) -> MissingDependency | None:
        try:
            await self._limit.run(_awaited(check), Waiting(name))
        except DependencyDownError as error:
            return MissingDependency(error.dependency, str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the replica is not ready, and says where
            return MissingDependency(name, f"{name} answers with an unforeseen {type(error).__name__}.")
        return None


async def _awaited(check: Callable[[], Awaitable[None]]) -> None:
    await check()
