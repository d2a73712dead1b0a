"""Opens MLflow quietly and turns its errors into ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from edupulse_ml.config.settings import set_environment_default
from edupulse_ml.core.errors import MODEL_REGISTRY, ConflictError, DependencyDownError, NotFoundError

# MLflow reads these when it is imported. A district's machine sends no usage data anywhere.
set_environment_default("MLFLOW_DISABLE_TELEMETRY", "true")
set_environment_default("GIT_PYTHON_REFRESH", "quiet")
set_environment_default("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient  # noqa: E402  (after the settings above)
from mlflow.exceptions import MlflowException, RestException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

_NOISY_LOGGERS = ("mlflow", "alembic", "sqlalchemy")


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of the tracking server or SQLite file at `tracking_uri`, which is also the model registry.

    Raises:
        DependencyDownError: it does not answer.
    """
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with translated_errors():
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises our error families instead of MLflow's.

    Raises:
        NotFoundError: MLflow has no such run, model or version.
        ConflictError: it exists already.
        DependencyDownError: MLflow or its database does not answer.
    """
    try:
        yield
    except MlflowException as error:
        code = error.error_code
        if code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"} and not _is_connection(error):
            raise NotFoundError(f"MLflow does not have what was asked for: {error.message}") from error
        if code == "RESOURCE_ALREADY_EXISTS":
            raise ConflictError(f"MLflow has this already: {error.message}") from error
        raise _down() from error
    except (SQLAlchemyError, OSError) as error:
        raise _down() from error


def _is_connection(error: MlflowException) -> bool:
    return not isinstance(error, RestException) and "API request to" in str(error)


def _down() -> DependencyDownError:
    return DependencyDownError(
        "The model registry (MLflow) does not answer: check MLFLOW_TRACKING_URI, or run `make up`.",
        dependency=MODEL_REGISTRY,
    )
