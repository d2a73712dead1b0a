"""Opens tracked runs of this district's experiment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edupulse_ml.registry.tracking import TrackedRun, tracked_run
from jobs.wiring import JobContext


@dataclass(frozen=True)
class Tracking:
    """Where runs are recorded; `parent_id` is the run that they are shown below."""

    context: JobContext
    parent_id: str | None = None

    @contextmanager
    def run(self, name: str, *, resumed_id: str | None = None) -> Iterator[TrackedRun]:
        """A run of the district's experiment; see `registry.tracking.tracked_run`."""
        with tracked_run(
            self.context.endpoints.mlflow_tracking_uri,
            experiment=f"edupulse-{self.context.district_id}",
            run_name=name,
            artifact_root=self.context.endpoints.mlflow_artifact_root,
            clock=self.context.clock,
            parent_id=self.parent_id,
            resumed_id=resumed_id,
        ) as run:
            yield run
