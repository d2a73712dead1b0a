"""The servers that jobs need: the ones whose URLs are set, else the embedded ones, started where needed."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from edupulse_ml.config.settings import Settings, process_environment
from edupulse_ml.core.errors import InvalidInputError
from jobs.stack.mlflow import tracking_uri
from jobs.stack.paths import StackPaths
from jobs.stack.postgres import APP_ROLE, ensure_postgres
from jobs.stack.redis import ensure_redis


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are. `database_admin_url` is None where only the application role's URL was given.
    `mlflow_artifact_root` is None where a tracking server decides about it.
    """

    database_url: str
    database_admin_url: str | None
    redis_url: str
    mlflow_tracking_uri: str
    mlflow_artifact_root: Path | None


def ensure_embedded(settings: Settings) -> Endpoints:
    """URLs from the settings; servers without one are embedded, and run when this returns.

    Raises:
        InvalidInputError: an admin URL is set without the application's, which would mix two databases.
        ServerStartError: an embedded server does not start.
    """
    paths = StackPaths.of(settings.home)
    database_url, admin_url = settings.database_url, settings.database_admin_url
    if database_url is None:
        if admin_url is not None:
            msg = (
                "EDUPULSE_DATABASE_ADMIN_URL is set but EDUPULSE_DATABASE_URL is not: set both for a server of your "
                "own, or none for the embedded one."
            )
            raise InvalidInputError(msg)
        urls = ensure_postgres(paths)
        database_url, admin_url = urls.app, urls.admin
    embedded_mlflow = settings.mlflow_tracking_uri is None
    if embedded_mlflow:
        paths.make()
        paths.mlflow_artifacts.mkdir(exist_ok=True)
    return Endpoints(
        database_url=database_url,
        database_admin_url=admin_url,
        redis_url=settings.redis_url or ensure_redis(paths, environment=process_environment()),
        mlflow_tracking_uri=settings.mlflow_tracking_uri or tracking_uri(paths),
        mlflow_artifact_root=paths.mlflow_artifacts if embedded_mlflow else None,
    )


def migrate_embedded(admin_url: str) -> list[str]:
    """Bring the embedded database up to date; names of the migrations applied. Not for use in an event loop."""
    from edupulse_ml.storage.migrate import migrate

    return asyncio.run(migrate(admin_url, app_role=APP_ROLE, app_password=None))


def server_environment(settings: Settings, endpoints: Endpoints) -> dict[str, str]:
    """This process's environment with the servers' URLs in it, for replicas and jobs. The admin URL is taken out:
    whoever serves requests must not be able to own tables.
    """
    environment = process_environment()
    for name in ("EDUPULSE_DATABASE_ADMIN_URL", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        environment.pop(name, None)
    # Replicas and jobs run in the home folder, where a relative path would lead elsewhere.
    policies = {
        "EDUPULSE_PROMOTION_POLICY": settings.promotion_policy,
        "EDUPULSE_DATA_POLICY": settings.data_policy,
    }
    return {
        **environment,
        **{name: str(path) for name, path in policies.items() if path is not None},
        "EDUPULSE_HOME": str(StackPaths.of(settings.home).home),
        "EDUPULSE_DATABASE_URL": endpoints.database_url,
        "EDUPULSE_REDIS_URL": endpoints.redis_url,
        "MLFLOW_TRACKING_URI": endpoints.mlflow_tracking_uri,
    }
