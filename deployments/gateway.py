"""The ingress as a Serve deployment: the HTTP API over the two hops behind it."""

import uuid
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.coalescer import BatchLimits
from deployments.components import Components
from deployments.ingress.api import Api, create_api
from deployments.ingress.services import Services
from deployments.metrics import ClusterMetrics, GatewayMetrics, node_agents
from deployments.moments import DistrictZone
from deployments.pipeline import HandlePipeline
from deployments.readiness import ReplicaReadiness
from deployments.registered_models import RegisteredModels
from deployments.scoring import ScoringOptions, ScoringService
from deployments.settings import AppArgs, training_placement
from deployments.training_runs import TrainingRuns
from edupulse_ml.core.ids import PredictionId


@serve.deployment(name="Gateway")
@serve.ingress()
class Gateway:
    """Authorises, validates, joins concurrent predictions, stores and audits, answers."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits constructors
        self,
        args: AppArgs,
        components: Components,
        *,
        fetcher: DeploymentHandle[Any],
        model: DeploymentHandle[Any],
    ) -> None:
        components.configure_logs()
        config = components.config(args)
        clock = components.clock()
        self._stores = stores = await components.open_stores(config, clock)
        pipeline = HandlePipeline(fetcher=fetcher, model=model)
        scoring = ScoringService(
            pipeline=pipeline,
            store=stores.predictions,
            cache=stores.cache,
            zone=DistrictZone(stores.reader),
            clock=clock,
            new_id=lambda: PredictionId(str(uuid.uuid4())),
            metrics=GatewayMetrics(),
            options=ScoringOptions(
                cache_ttl_s=config.cache_ttl_s,
                batches=BatchLimits(
                    max_batch_size=args.max_batch_size,
                    wait_s=args.batch_wait_s,
                    max_concurrent=args.max_concurrent_batches,
                    max_waiting=args.max_waiting,
                    max_wait_s=args.max_wait_s,
                ),
                answer_timeout_s=args.answer_timeout_s,
            ),
        )
        self._services = Services(
            scoring=scoring,
            readiness=ReplicaReadiness(
                database=stores.ping, cache=stores.cache.ping, fetcher=pipeline.ping_fetcher, served=pipeline.served
            ),
            metrics=ClusterMetrics(node_agents),
            training=TrainingRuns(
                runs=stores.training,
                server=components.job_server(config),
                clock=clock,
                new_id=uuid.uuid4,
                placement=training_placement(config),
            ),
            models=RegisteredModels(lambda: components.registry(config), timeout_s=args.answer_timeout_s),
            token_sha256=components.token_sha256(args),
            version=version("edupulse"),
        )

    def __serve_build_asgi_app__(self) -> Api:
        return create_api(self._services)

    async def __del__(self) -> None:  # Serve awaits it when it stops the replica
        if stores := self.__dict__.get("_stores"):
            await stores.close()
