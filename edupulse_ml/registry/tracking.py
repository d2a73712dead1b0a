"""Records what a training run did: parameters, metrics per epoch, files and where its data came from."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.registry.connection import open_client, translated_errors

PARENT_TAG: Final = "mlflow.parentRunId"
"""MLflow shows a run below the one that this tag names."""

_MAX_PARAM_CHARACTERS = 500


@dataclass(frozen=True)
class TrackedRun:
    """One open MLflow run."""

    client: MlflowClient
    run_id: str
    clock: Clock

    def log_params(self, params: Mapping[str, object]) -> None:
        """Parameters, in one request; long values are cut to MLflow's limit."""
        entries = [Param(key, str(value)[:_MAX_PARAM_CHARACTERS]) for key, value in params.items()]
        with translated_errors():
            self.client.log_batch(self.run_id, params=entries)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Metrics of one step (an epoch), in one request. Values that are not finite are left out."""
        now_ms = int(self.clock.now().timestamp() * 1000)
        finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        with translated_errors():
            self.client.log_batch(
                self.run_id, metrics=[Metric(key, value, now_ms, step) for key, value in finite.items()]
            )

    def log_folder(self, folder: Path, *, artifact_path: str) -> None:
        """Every file of `folder`, below `artifact_path` of the run."""
        with translated_errors():
            self.client.log_artifacts(self.run_id, str(folder), artifact_path)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Where the run came from: git commit, feature contract, data window."""
        with translated_errors():
            for key, value in tags.items():
                self.client.set_tag(self.run_id, key, value)


@contextmanager
def tracked_run(
    tracking_uri: str,
    *,
    experiment: str,
    run_name: str,
    artifact_root: Path | None,
    clock: Clock,
    parent_id: str | None = None,
    resumed_id: str | None = None,
) -> Iterator[TrackedRun]:
    """A run that ends FINISHED, FAILED on an error or KILLED on an interrupt.

    `artifact_root` is the folder for files of a new experiment; None leaves the choice to the tracking server.
    `parent_id` is the run that this one is shown below; `resumed_id` goes on with an earlier run in place of a new one.

    Raises:
        NotFoundError: there is no run `resumed_id`.
        DependencyDownError: MLflow does not answer.
    """
    client = open_client(tracking_uri)
    with translated_errors():
        if resumed_id is None:
            experiment_id = _experiment_id(client, experiment, artifact_root)
            tags = {} if parent_id is None else {PARENT_TAG: parent_id}
            run_id: str = client.create_run(experiment_id, run_name=run_name, tags=tags).info.run_id
        else:
            client.update_run(resumed_id, status="RUNNING")
            run_id = resumed_id
    try:
        yield TrackedRun(client, run_id, clock)
    except BaseException as error:
        _terminate(client, run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    _terminate(client, run_id, "FINISHED")


def _terminate(client: MlflowClient, run_id: str, status: str) -> None:
    with translated_errors():
        client.set_terminated(run_id, status=status)


def _experiment_id(client: MlflowClient, name: str, artifact_root: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    location = None if artifact_root is None else (artifact_root / name).absolute().as_uri()
    try:
        with translated_errors():
            return client.create_experiment(name, artifact_location=location)
    except ConflictError:
        created_meanwhile = client.get_experiment_by_name(name)
        if created_meanwhile is None:
            raise
        return created_meanwhile.experiment_id
