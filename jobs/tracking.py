"""Opens tracked runs of this district's experiment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edupulse_ml.registry.tracking import TrackedRun, tracked_run
from jobs.wiring import JobContext


@dataclass(frozen=True)
class Tracking:
    """Where runs are recorded."""

    context: JobContext

    @contextmanager
    def run(self, name: str) -> Iterator[TrackedRun]:
        """A run of the district's experiment; see `registry.tracking.tracked_run`."""
        with tracked_run(
            self.context.endpoints.mlflow_tracking_uri,
            experiment=f"edupulse-{self.context.district_id}",
            run_name=name,
            artifact_root=self.context.endpoints.mlflow_artifact_root,
            clock=self.context.clock,
        ) as run:
            yield run
