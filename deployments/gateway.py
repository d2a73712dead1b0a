"""The ingress as a Serve deployment: the HTTP API over the two hops behind it."""

import uuid
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.challenge_watch import ChallengeWatch, WatchTimes
from deployments.challenging import ChallengerLimits, challenger_in_use, keep_watching
from deployments.coalescer import BatchLimits
from deployments.components import Components
from deployments.feedback import FeedbackService
from deployments.ingress.api import Api, create_api
from deployments.ingress.services import Services
from deployments.metrics import ChallengeMetrics, ClusterMetrics, GatewayMetrics, node_agents
from deployments.moments import DistrictZone
from deployments.monitoring_metrics import WithMonitoring
from deployments.pipeline import HandlePipeline
from deployments.readiness import ReplicaReadiness
from deployments.registered_models import RegisteredModels
from deployments.score_changes import ScoreChanges
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
        challenger: DeploymentHandle[Any],
    ) -> None:
        components.configure_logs()
        config = components.config(args)
        clock = components.clock()
        self._stores = stores = await components.open_stores(config, clock)
        pipeline = HandlePipeline(fetcher=fetcher, model=model)
        beside = HandlePipeline(fetcher=fetcher, model=challenger)
        metrics = ChallengeMetrics()
        watch = ChallengeWatch(
            setting=stores.challenges.current,
            served=beside.served,
            champion=pipeline.served,
            metrics=metrics,
            times=WatchTimes(setting_s=args.challenge_poll_s),
        )
        self._watching = keep_watching(watch)
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
        scoring.challenge(
            lambda parts: challenger_in_use(
                watch, beside, store=stores.challenges, parts=parts, metrics=metrics, limits=ChallengerLimits.of(args)
            )
        )
        self._services = Services(
            scoring=scoring,
            changes=ScoreChanges(pipeline, stores.predictions, timeout_s=args.answer_timeout_s),
            readiness=ReplicaReadiness(
                database=stores.ping, cache=stores.cache.ping, fetcher=pipeline.ping_fetcher, served=pipeline.served
            ),
            metrics=WithMonitoring(ClusterMetrics(node_agents), stores.latest_monitoring),
            training=TrainingRuns(
                runs=stores.training,
                server=components.job_server(config),
                clock=clock,
                new_id=uuid.uuid4,
                placement=training_placement(config),
                answer_timeout_s=args.answer_timeout_s,
            ),
            feedback=FeedbackService(stores.feedback, answer_timeout_s=args.answer_timeout_s),
            models=RegisteredModels(lambda: components.registry(config), timeout_s=args.answer_timeout_s),
            token_sha256=components.token_sha256(args),
            version=version("edupulse"),
        )

    def __serve_build_asgi_app__(self) -> Api:
        return create_api(self._services)

    async def __del__(self) -> None:  # Serve awaits it when it stops the replica
        if watching := self.__dict__.get("_watching"):
            watching.cancel()
        if stores := self.__dict__.get("_stores"):
            await stores.close()
