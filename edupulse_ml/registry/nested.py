"""Runs that belong to another one, recorded when they have ended: the trials of a search."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mlflow.entities import Metric, Param, RunTag

from edupulse_ml.registry.connection import translated_errors
from edupulse_ml.registry.tracking import PARENT_TAG, TrackedRun

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class NestedRun:
    """A run that has ended. `metrics` has the values of each step by name; `seconds` is how long it took, None where
    that is not known.
    """

    name: str
    status: RunStatus
    params: Mapping[str, object]
    metrics: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None


def record_nested(parent: TrackedRun, nested: NestedRun) -> None:
    """Record `nested` below `parent`, as ended now. Values that are not finite are left out.

    Raises:
        DependencyDownError: MLflow does not answer.
    """
    client, end_ms = parent.client, int(parent.clock.now().timestamp() * 1000)
    start_ms = end_ms - int(1000 * (nested.seconds or 0.0))
    with translated_errors():
        experiment_id = client.get_run(parent.run_id).info.experiment_id
        run = client.create_run(
            experiment_id, start_time=start_ms, run_name=nested.name, tags={PARENT_TAG: parent.run_id}
        )
        client.log_batch(
            run.info.run_id,
            metrics=[
                Metric(name, value, end_ms, step)
                for name, steps in nested.metrics.items()
                for step, value in steps.items()
                if math.isfinite(value)
            ],
            params=[Param(name, str(value)) for name, value in nested.params.items()],
            tags=[RunTag(name, value) for name, value in nested.tags.items()],
        )
        client.set_terminated(run.info.run_id, status=nested.status, end_time=end_ms)


STATUS_OF_STATE: Final[Mapping[str, RunStatus]] = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""MLflow knows no pruned run; the tag `state` says which of the killed ones were."""
