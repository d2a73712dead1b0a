"""The feature fetcher as a Serve deployment."""

from dataclasses import replace

from ray import serve

from deployments.change_failures import no_change
from deployments.change_fetching import ChangeFetcher
from deployments.change_messages import ChangeRequest, FetchedChange, NoChange
from deployments.components import Components
from deployments.in_hand import InHand
from deployments.messages import FetchedWindows, FetchRequest, HopFailure
from deployments.metrics import FetcherMetrics
from deployments.moments import DistrictZone, read_zone
from deployments.settings import AppArgs
from deployments.time_limit import TimeLimit, Waiting
from deployments.windows import WindowFetcher, WindowSources
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.sufficiency import SufficiencyPolicy

PING_TIMEOUT_S = 4.0
"""Less than the gateway's patience, so that it hears which server hangs."""


@serve.deployment(name="FeatureFetcher")
class FeatureFetcher:
    """Fetches the windows of many students per call."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits constructors
        self, args: AppArgs, components: Components
    ) -> None:
        components.configure_logs()
        config = components.config(args)
        self._stores = stores = await components.open_stores(config, components.clock())
        self._ping_limit = TimeLimit(PING_TIMEOUT_S)
        self._in_hand = InHand()
        zone = DistrictZone(stores.reader)
        self._changes = ChangeFetcher(
            stores.reader,
            stores.past,
            zone=zone,
            compute_for=lambda contract: components.compute_features(replace(config, contract=contract)),
        )
        self._fetcher = WindowFetcher(
            WindowSources(
                reader=stores.reader,
                store=stores.features,
                cache=stores.cache,
                compute=components.compute_features(config),
                zone=zone,
            ),
            contract=config.contract,
            policy=SufficiencyPolicy(),
            cache_ttl_s=config.cache_ttl_s,
            metrics=FetcherMetrics(),
        )

    async def fetch_many(self, request: FetchRequest) -> FetchedWindows | HopFailure:
        """Windows of the request's students, or which server is missing."""
        try:
            with self._in_hand.hold(len(request.student_ids)):
                return await self._fetcher.fetch_many(request)
        except DependencyDownError as error:
            return HopFailure(str(error), error.dependency)

    async def fetch_change(self, request: ChangeRequest) -> FetchedChange | NoChange:
        """The windows between two predictions, or why there are none."""
        try:
            return await self._changes.fetch(request)
        except Exception as error:  # noqa: BLE001 - a hop answers with a value whatever goes wrong
            return no_change(error)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Students in hand, which this hop is scaled by."""
        return self._in_hand.look()

    async def ping(self) -> HopFailure | None:
        """None if PostgreSQL answers in time and holds the district."""
        try:
            await self._ping_limit.run(self._read_district(), Waiting("postgresql"))
        except DependencyDownError as error:
            return HopFailure(str(error), error.dependency)
        return None

    async def _read_district(self) -> None:
        await self._stores.ping()
        await read_zone(self._stores.reader)

    async def __del__(self) -> None:  # Serve awaits it when it stops the replica
        if stores := self.__dict__.get("_stores"):
            await stores.close()
