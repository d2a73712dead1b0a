"""Opens, from the settings, what jobs need: stores, cache, registry; embedded servers are started first."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edupulse_ml.cache.answers import RedisAnswerCache
from edupulse_ml.config.settings import Settings, process_environment, set_environment_default
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.contract import FeatureContract, current_contract
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.core.ports import District
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.districts import ensure_district
from edupulse_ml.storage.features import PostgresFeatureStore
from edupulse_ml.storage.loading import RecordLoader
from edupulse_ml.storage.predictions import PostgresPredictionStore
from edupulse_ml.storage.records import PostgresRecordReader
from jobs.stack.embedded import Endpoints, ensure_embedded, migrate_embedded
from jobs.stack.paths import StackPaths
from jobs.stack.ports import LOOPBACK
from jobs.stack.processes import is_alive
from jobs.stack.ray import NAME as RAY
from jobs.stack.ray import read_ray_token
from jobs.stack.state import load_state

if TYPE_CHECKING:
    from edupulse_ml.registry.models import ModelRegistry

__all__ = ["Endpoints", "JobContext", "connected_to_ray", "ensure_embedded", "open_context"]


@dataclass(frozen=True)
class JobContext:
    """Open stores of the settings' district; valid inside `open_context` and on its event loop."""

    settings: Settings
    clock: Clock
    endpoints: Endpoints
    paths: StackPaths
    database: Database
    reader: PostgresRecordReader
    features: PostgresFeatureStore
    predictions: PostgresPredictionStore
    loader: RecordLoader
    cache: RedisAnswerCache

    @property
    def district_id(self) -> DistrictId:
        return DistrictId(self.settings.district)

    @property
    def contract(self) -> FeatureContract:
        """The feature contract of this release under these settings."""
        return current_contract(
            window_weeks=self.settings.window_weeks,
            objective_discipline_only=self.settings.objective_discipline_only,
        )

    async def ensure_district(self) -> District:
        """The district, created in the settings' time zone if it is new."""
        return await ensure_district(self.database, timezone=self.settings.district_timezone)

    @cached_property
    def registry(self) -> "ModelRegistry":
        """The district's model registry; opened at first use because MLflow takes seconds to import.

        Raises:
            DependencyDownError: it does not answer.
        """
        from edupulse_ml.registry.models import ModelRegistry, model_name

        return ModelRegistry(
            self.endpoints.mlflow_tracking_uri,
            name=model_name(self.district_id),
            cache_dir=self.paths.home / "models",
        )


@asynccontextmanager
async def open_context(settings: Settings, *, clock: Clock | None = None) -> AsyncGenerator[JobContext, None]:
    """Start and migrate the embedded servers where no URLs are set, and open everything on the running event loop.

    `clock` None is the machine's clock.

    Raises:
        ServerStartError: an embedded server does not start.
        DependencyDownError: PostgreSQL does not answer.
    """
    endpoints = await asyncio.to_thread(_prepare, settings)
    clock = clock or SystemClock()
    district_id = DistrictId(settings.district)
    async with (
        Database(endpoints.database_url, district_id=district_id) as database,
        RedisAnswerCache(endpoints.redis_url, district_id=district_id, clock=clock) as cache,
    ):
        yield JobContext(
            settings=settings,
            clock=clock,
            endpoints=endpoints,
            paths=StackPaths.of(settings.home),
            database=database,
            reader=PostgresRecordReader(database),
            features=PostgresFeatureStore(database),
            predictions=PostgresPredictionStore(database),
            loader=RecordLoader(database, clock=clock),
            cache=cache,
        )


@contextmanager
def connected_to_ray(settings: Settings, *, needed: bool) -> Generator[None, None, None]:
    """Be a driver of Ray inside the block: of the cluster in RAY_ADDRESS (also set inside a Ray job), else of the
    head that `make up` started, else of one for this block only. Does nothing if not `needed`, or if connected.

    Raises:
        DependencyDownError: the cluster does not answer.
    """
    if not needed:
        yield
        return
    paths = StackPaths.of(settings.home)
    head = load_state(paths).get(RAY)
    environment = process_environment()
    address = environment.get("RAY_ADDRESS")
    if address is None:
        if head is not None and is_alive(head):
            address = f"{LOOPBACK}:{head.port('gcs')}"
        read_ray_token(paths)
        # Ray takes its credentials from the environment only.
        set_environment_default("RAY_AUTH_MODE", "token")
        set_environment_default("RAY_AUTH_TOKEN_PATH", str(paths.ray_token))
    set_environment_default("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    alone: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.WARNING, **alone)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        msg = f"Ray at {address or 'this machine'} does not answer: run `make up`, or unset RAY_ADDRESS."
        raise DependencyDownError(msg, dependency="ray") from error
    try:
        yield
    finally:
        ray.shutdown()


def _prepare(settings: Settings) -> Endpoints:
    endpoints = ensure_embedded(settings)
    if settings.database_url is None and endpoints.database_admin_url is not None:
        migrate_embedded(endpoints.database_admin_url)
    return endpoints
