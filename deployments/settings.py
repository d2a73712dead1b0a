"""Arguments of the Serve application, and how a replica completes them from its own environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.training_runs import Placement
from edupulse_ml.config.settings import Settings
from edupulse_ml.core.contract import FeatureContract, current_contract
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.security.tokens import hash_token, read_token

Device = Literal["auto", "cpu", "cuda"]


class AppArgs(BaseModel):
    """`args` of the application in `serve_config.yaml`. Ray shows them in its dashboard, so secrets do not belong
    here: leave `database_url` to the replicas' environment where it holds a password, and give the token's hash.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path | None = Field(default=None, description="Home folder; unset: EDUPULSE_HOME of the replica.")
    database_url: str | None = Field(default=None, description="Unset: EDUPULSE_DATABASE_URL of the replica.")
    redis_url: str | None = Field(default=None, description="Unset: EDUPULSE_REDIS_URL of the replica.")
    mlflow_tracking_uri: str | None = Field(default=None, description="Unset: MLFLOW_TRACKING_URI of the replica.")
    district: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,40}$", description="Unset: EDUPULSE_DISTRICT.")
    window_weeks: int | None = Field(default=None, ge=4, le=60, description="Unset: EDUPULSE_WINDOW_WEEKS.")
    cache_ttl_s: int | None = Field(default=None, ge=0, description="Unset: EDUPULSE_PREDICTION_CACHE_TTL_S.")
    token_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the bearer token; unset: of EDUPULSE_TOKEN, else of the token in the home folder.",
    )
    max_batch_size: int = Field(default=64, ge=1, le=1024, description="Single predictions joined into one call.")
    batch_wait_s: float = Field(default=0.001, ge=0, le=1, description="Seconds a lone prediction waits for others.")
    max_concurrent_batches: int = Field(default=4, ge=1, le=64, description="Calls under way per gateway replica.")
    max_waiting: int = Field(default=512, ge=1, description="Predictions that may wait; one more is answered 429.")
    max_wait_s: float = Field(
        default=1.0, gt=0, description="Seconds that predictions may wait at the present pace; more are answered 429."
    )
    answer_timeout_s: float = Field(
        default=8.0, gt=0, description="Seconds until a server that hangs is reported; below `request_timeout_s`."
    )
    database_connections: int = Field(default=4, ge=1, le=100, description="Per replica; batches share them.")
    inference_device: Device = Field(default="auto", description="`auto`: the GPU if the replica was given one.")
    inference_threads: int = Field(default=1, ge=1, le=64, description="CPU threads of one forward.")
    model_poll_s: float = Field(default=30.0, gt=0, description="Seconds between looks at the champion alias.")
    job_server: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Ray's dashboard, which runs training jobs; unset: that of the cluster that the replica is in.",
    )
    training_cpus: float = Field(
        default=0, ge=0, description="CPUs that Ray reserves for a training run's process; 0: it runs on the head node."
    )
    challenge_poll_s: float = Field(default=5.0, gt=0, description="Seconds between looks at the challenge's setting.")
    challenger_timeout_s: float = Field(
        default=1.0, gt=0, description="Seconds that its arm waits for the challenger; then the champion answers."
    )
    challenger_hang_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds after which a forward that has not ended costs the challenger its replica.",
    )
    challenger_memory_mib: int | None = Field(
        default=1024, ge=64, description="Private memory that the challenger may add to its process, in MiB; null: any."
    )
    shadow_waiting: int = Field(
        default=1024, ge=1, description="Students that may wait for the challenger; more are dropped."
    )


@dataclass(frozen=True)
class ServingConfig:
    """Complete settings of one replica."""

    args: AppArgs
    home: Path
    database_url: str
    redis_url: str
    mlflow_tracking_uri: str
    district: str
    cache_ttl_s: int
    contract: FeatureContract


class SettingMissingError(InvalidInputError):
    """A replica does not know where one of its servers is."""


def complete(args: AppArgs, settings: Settings) -> ServingConfig:
    """`args`, with what they leave out taken from the replica's environment.

    Raises:
        SettingMissingError: neither names the database, Redis or MLflow.
    """
    return ServingConfig(
        args=args,
        home=args.home or settings.home,
        database_url=_required(args.database_url or settings.database_url, "EDUPULSE_DATABASE_URL"),
        redis_url=_required(args.redis_url or settings.redis_url, "EDUPULSE_REDIS_URL"),
        mlflow_tracking_uri=_required(args.mlflow_tracking_uri or settings.mlflow_tracking_uri, "MLFLOW_TRACKING_URI"),
        district=args.district or settings.district,
        cache_ttl_s=settings.prediction_cache_ttl_s if args.cache_ttl_s is None else args.cache_ttl_s,
        contract=current_contract(
            window_weeks=args.window_weeks or settings.window_weeks,
            objective_discipline_only=settings.objective_discipline_only,
        ),
    )


def training_placement(config: ServingConfig) -> Placement:
    """Where training runs take place, with what `args` name told to them; the rest they have from their node, as
    replicas do.
    """
    args = config.args
    told = {
        "EDUPULSE_HOME": str(args.home.absolute()) if args.home else "",
        "EDUPULSE_DISTRICT": config.district,
        "EDUPULSE_WINDOW_WEEKS": str(config.contract.window_weeks),
        "EDUPULSE_DATABASE_URL": args.database_url or "",
        "EDUPULSE_REDIS_URL": args.redis_url or "",
        "MLFLOW_TRACKING_URI": args.mlflow_tracking_uri or "",
    }
    return Placement({name: value for name, value in told.items() if value}, num_cpus=args.training_cpus)


def token_hash(args: AppArgs, settings: Settings) -> str:
    """Hexadecimal SHA-256 of the bearer token that the gateway asks for.

    Raises:
        TokenMissingError: there is no token anywhere.
    """
    return args.token_sha256 or hash_token(read_token(args.home or settings.home, given=settings.token))


def _required(value: str | None, variable: str) -> str:
    if not value:
        msg = f"{variable} is not set where the replica runs: set it before `ray start`, or run `make up`."
        raise SettingMissingError(msg)
    return value
