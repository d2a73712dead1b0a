"""Serving over real stores and a real registry, without Ray: parts as a replica would make them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TypeVar

from deployments.change_fetching import ChangeFetcher
from deployments.change_messages import ExplainedChange
from deployments.components import StandardComponents, Stores
from deployments.messages import Answer, Question
from deployments.model_slot import ModelSlot
from deployments.moments import DistrictZone
from deployments.past_models import PastModels
from deployments.score_changes import ScoreChanges
from deployments.scoring import ScoringOptions, ScoringService
from deployments.settings import ServingConfig
from deployments.windows import WindowFetcher, WindowSources
from edupulse_ml.core.ids import PredictionId, StudentId
from edupulse_ml.core.sufficiency import SufficiencyPolicy
from tests.fakes.clocks import FixedClock
from tests.fakes.serving import CountingMetrics, LocalChangePipeline, LocalPipeline
from tests.fakes.store_world import World

T = TypeVar("T")


@dataclass
class Place:
    """A district and the settings that lead to its stores; it is served at the world's moment."""

    world: World
    config: ServingConfig

    def serve(self, work: Callable[["Opened"], Awaitable[T]]) -> T:
        """Run `work` over freshly opened parts, as a replica would make them."""

        async def main() -> T:
            components = StandardComponents()
            clock = self.world.clock
            stores = await components.open_stores(self.config, clock)
            try:
                return await work(await Opened.over(stores, components, self.config, clock))
            finally:
                await stores.close()

        return asyncio.run(main())


@dataclass
class Opened:
    """The parts of gateway, fetcher and model."""

    stores: Stores
    scoring: ScoringService
    changes: ScoreChanges
    pipeline: LocalPipeline
    metrics: CountingMetrics

    @classmethod
    async def over(
        cls, stores: Stores, components: StandardComponents, config: ServingConfig, clock: FixedClock
    ) -> "Opened":
        metrics = CountingMetrics()
        zone = DistrictZone(stores.reader)
        fetcher = WindowFetcher(
            WindowSources(stores.reader, stores.features, stores.cache, components.compute_features(config), zone),
            contract=config.contract,
            policy=SufficiencyPolicy(),
            cache_ttl_s=config.cache_ttl_s,
            metrics=metrics,
        )
        source = components.model_source(config)
        slot = ModelSlot(source, contract=config.contract, clock=clock, metrics=metrics)
        await slot.aim("champion")
        pipeline = LocalPipeline(fetcher, slot)
        scoring = ScoringService(
            pipeline=pipeline,
            store=stores.predictions,
            cache=stores.cache,
            zone=zone,
            clock=clock,
            new_id=lambda: PredictionId(str(uuid.uuid4())),
            metrics=metrics,
            options=ScoringOptions(),
        )
        past = ChangeFetcher(
            stores.reader,
            stores.past,
            zone=zone,
            compute_for=lambda contract: components.compute_features(replace(config, contract=contract)),
        )
        changes = ScoreChanges(LocalChangePipeline(past, slot, PastModels(source)), stores.predictions, timeout_s=30.0)
        return cls(stores, scoring, changes, pipeline, metrics)

    async def ask(self, *names: str, as_of: date | datetime | None = None) -> list[Answer]:
        questions = [Question(StudentId(name), as_of, True, f"r{i}", "token-1") for i, name in enumerate(names)]
        return list(await self.scoring.predict_many(questions))

    async def what_changed(self, name: str, *, since: PredictionId | None = None) -> ExplainedChange:
        return await self.changes.changes(StudentId(name), since=since, actor="token-1", request_id="c")
