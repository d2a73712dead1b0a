"""The stores that a worker opens for itself, in whichever process it runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edupulse_ml.cache.answers import RedisAnswerCache
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.features import PostgresFeatureStore
from edupulse_ml.storage.records import PostgresRecordReader
from edupulse_ml.storage.scoring_runs import ScoringRunStore

if TYPE_CHECKING:
    from jobs.wiring import JobContext


@dataclass(frozen=True)
class StoreAddress:
    """Where the district's stores are, and the contract of its features."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    district_id: DistrictId
    contract: FeatureContract


@dataclass(frozen=True)
class BulkStores:
    """Open stores; valid inside `open_stores` and on its event loop."""

    reader: PostgresRecordReader
    features: PostgresFeatureStore
    runs: ScoringRunStore
    cache: RedisAnswerCache
    contract: FeatureContract
    clock: Clock


def address_of(context: "JobContext") -> StoreAddress:
    """The stores that a job has open, for workers elsewhere."""
    return StoreAddress(
        database_url=context.endpoints.database_url,
        redis_url=context.endpoints.redis_url,
        district_id=context.district_id,
        contract=context.contract,
    )


@asynccontextmanager
async def open_stores(address: StoreAddress) -> AsyncGenerator[BulkStores, None]:
    """Connect on the running event loop."""
    clock = SystemClock()
    async with (
        Database(address.database_url, district_id=address.district_id) as database,
        RedisAnswerCache(address.redis_url, district_id=address.district_id, clock=clock) as cache,
    ):
        yield BulkStores(
            reader=PostgresRecordReader(database),
            features=PostgresFeatureStore(database),
            runs=ScoringRunStore(database),
            cache=cache,
            contract=address.contract,
            clock=clock,
        )
