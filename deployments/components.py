"""What replicas are made of. `StandardComponents` is the real thing; tests bind the same graph over other parts."""

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import ray

from deployments.job_server import JobServer, RayJobServer
from deployments.model_slot import CHAMPION, LoadedModel, ModelFiles, ModelSource
from deployments.monitoring_metrics import LatestRun, no_run
from deployments.settings import AppArgs, Device, ServingConfig, complete, token_hash
from deployments.timed_runs import RunStore
from deployments.windows import ComputeFeatures
from edupulse_ml.config.settings import load_settings, set_environment_default
from edupulse_ml.core.challenge import CHALLENGER
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.core.ports import (
    AnswerCache,
    ChallengeStore,
    FeatureStore,
    FeedbackStore,
    PastRecords,
    PredictionStore,
    RecordReader,
)
from edupulse_ml.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from edupulse_ml.registry.models import ModelRegistry


@dataclass(frozen=True)
class Stores:
    """Open stores of one replica. `ping` returns if PostgreSQL answers and raises `DependencyDownError` if not;
    `close` ends all connections; `latest_monitoring` reads the monitoring run made last.
    """

    reader: RecordReader
    features: FeatureStore
    predictions: PredictionStore
    challenges: ChallengeStore
    cache: AnswerCache
    training: RunStore
    past: PastRecords
    feedback: FeedbackStore
    ping: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    latest_monitoring: LatestRun = no_run


class Components(Protocol):
    """Makes the parts of a replica, on the replica. Must be picklable, so it holds nothing open."""

    def configure_logs(self) -> None:
        """Called first: what a replica logs is structured, and masked."""
        ...

    def config(self, args: AppArgs) -> ServingConfig: ...

    def token_sha256(self, args: AppArgs) -> str: ...

    async def open_stores(self, config: ServingConfig, clock: Clock) -> Stores:
        """Returns also when the servers are down: readiness says so, and they are used once they are back."""
        ...

    def compute_features(self, config: ServingConfig) -> ComputeFeatures: ...

    def model_source(self, config: ServingConfig) -> ModelSource: ...

    def job_server(self, config: ServingConfig) -> JobServer: ...

    def registry(self, config: ServingConfig) -> "ModelRegistry":
        """Opens the registry, which takes seconds."""
        ...

    def clock(self) -> Clock: ...


class StandardComponents:
    """PostgreSQL, Redis, MLflow, and the features of this release."""

    def configure_logs(self) -> None:
        settings = load_settings()
        configure_logs(level=settings.log_level, log_format=settings.log_format, stream=sys.stderr)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request

    def config(self, args: AppArgs) -> ServingConfig:
        return complete(args, load_settings())

    def token_sha256(self, args: AppArgs) -> str:
        return token_hash(args, load_settings())

    async def open_stores(self, config: ServingConfig, clock: Clock) -> Stores:
        from edupulse_ml.cache.answers import RedisAnswerCache
        from edupulse_ml.storage.challenges import PostgresChallengeStore
        from edupulse_ml.storage.connection import Database
        from edupulse_ml.storage.features import PostgresFeatureStore
        from edupulse_ml.storage.feedback import FeedbackRepository
        from edupulse_ml.storage.monitoring import MonitoringRepository
        from edupulse_ml.storage.past_records import PastRecordReader
        from edupulse_ml.storage.predictions import PostgresPredictionStore
        from edupulse_ml.storage.records import PostgresRecordReader
        from edupulse_ml.storage.training_jobs import TrainingJobRepository

        district_id = DistrictId(config.district)
        database = Database(
            config.database_url,
            district_id=district_id,
            max_connections=config.args.database_connections,
            statement_timeout_s=config.args.answer_timeout_s,  # nobody waits for a longer one
            plans_once=True,
        )
        await database.open()
        cache = RedisAnswerCache(config.redis_url, district_id=district_id, clock=clock)

        async def close() -> None:
            await cache.close()
            await database.close()

        return Stores(
            reader=PostgresRecordReader(database),
            features=PostgresFeatureStore(database),
            predictions=PostgresPredictionStore(database),
            challenges=PostgresChallengeStore(database),
            cache=cache,
            training=TrainingJobRepository(database, clock=clock),
            past=PastRecordReader(database),
            feedback=FeedbackRepository(database, clock=clock),
            ping=database.ping,
            close=close,
            latest_monitoring=MonitoringRepository(database).latest,
        )

    def compute_features(self, config: ServingConfig) -> ComputeFeatures:
        from features.compute import FeatureOptions, compute_features

        options = FeatureOptions(objective_discipline_only=config.contract.objective_discipline_only)
        return lambda records, week: compute_features(records, through_week=week, options=options)

    def model_source(self, config: ServingConfig) -> ModelSource:
        _wait_briefly_for_mlflow()
        return RegistryModels(
            tracking_uri=config.mlflow_tracking_uri,
            district=DistrictId(config.district),
            cache_dir=config.home / "models",
            device=config.args.inference_device,
            threads=config.args.inference_threads,
        )

    def job_server(self, config: ServingConfig) -> JobServer:
        return RayJobServer(config.args.job_server, timeout_s=config.args.answer_timeout_s)

    def registry(self, config: ServingConfig) -> "ModelRegistry":
        from edupulse_ml.registry.models import ModelRegistry, model_name

        _wait_briefly_for_mlflow()
        return ModelRegistry(
            config.mlflow_tracking_uri,
            name=model_name(DistrictId(config.district)),
            cache_dir=config.home / "models",
        )

    def clock(self) -> Clock:
        return SystemClock()


@dataclass(frozen=True)
class RegistryModels:
    """Models of the registry: ONNX Runtime on a CPU, torch on a GPU. `device` `auto` takes a GPU only where Ray granted
    one to this replica. `threads` bounds one forward on a CPU.
    """

    tracking_uri: str
    district: DistrictId
    cache_dir: Path
    device: Device
    threads: int

    def fetch(self, wanted: str) -> ModelFiles:
        """The files of a version, of the champion or of the challenger.

        Raises:
            NotFoundError: there is no such version, or no champion or challenger.
            DependencyDownError: the registry does not answer.
        """
        from edupulse_ml.registry.models import ModelRegistry, model_name

        registry = ModelRegistry(self.tracking_uri, name=model_name(self.district), cache_dir=self.cache_dir)
        version = ModelVersion(wanted)
        if wanted == CHALLENGER:
            challenger = registry.alias(CHALLENGER)
            if challenger is None:
                msg = "This district has no challenger: name one with `edupulse challenger set VERSION`."
                raise NotFoundError(msg)
            version = challenger
        found = registry.fetch(None if wanted == CHAMPION else version)
        return ModelFiles(found.version, found.path)

    def kept(self, wanted: str) -> ModelFiles | None:
        """The local copy of a version, or of the champion fetched last; None without one. A challenger is never taken from
        memory: that its challenge is still on, only the registry knows.
        """
        from edupulse_ml.registry.models import kept_copy, model_name

        if wanted == CHALLENGER:
            return None
        version = None if wanted == CHAMPION else ModelVersion(wanted)
        found = kept_copy(self.cache_dir, name=model_name(self.district), version=version)
        return ModelFiles(found.version, found.path) if found is not None else None

    def load(self, files: ModelFiles) -> LoadedModel:
        """The model in memory, of whatever strategy it is, with the engine that suits the device."""
        import torch

        from edupulse_ml.explain.strategies import explain_model
        from edupulse_ml.models.strategies import load_strategy

        granted = self.device == "auto" and bool(_granted_gpus())
        on_gpu = self.device == "cuda" or (granted and torch.cuda.is_available())
        if not on_gpu:
            torch.set_num_threads(self.threads)
        model = load_strategy(
            files.path,
            engine="torch" if on_gpu else "onnx",
            threads=self.threads,
            device="cuda" if on_gpu else "cpu",
        )
        return LoadedModel(
            contract=model.contract,
            policy=model.policy,
            score=model.score,
            explain=explain_model(model),
        )


def _wait_briefly_for_mlflow() -> None:
    # MLflow's own patience is 120 seconds, eight times over: a replica would wait a quarter of an hour for a registry
    # that hangs, where it looks again in half a minute anyhow.
    set_environment_default("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    set_environment_default("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def _granted_gpus() -> Sequence[str]:
    """The GPUs that Ray granted to this process. The machine may have others, which belong to somebody else."""
    if not ray.is_initialized():
        return ()
    return ray.get_runtime_context().get_accelerator_ids().get("GPU", ())
