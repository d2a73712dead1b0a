"""A training run: what is known of it, and what is true of it given its row, Ray's word and the time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final, Literal
from uuid import UUID

RunState = Literal["queued", "running", "stopping", "succeeded", "failed", "stopped"]
RayWord = Literal["pending", "running", "succeeded", "failed", "stopped", "unknown", "silent"]
"""What Ray says of a job: `unknown` if it has none of that id, `silent` if it does not answer or was not asked."""

UNDER_WAY: Final[frozenset[RunState]] = frozenset({"queued", "running", "stopping"})
HEARTBEAT: Final = timedelta(seconds=10)
"""How often a run says that it lives."""
QUIET: Final = timedelta(minutes=2)
"""A run that Ray does not know may be silent for so long: twelve heartbeats, and a database that restarts."""
LONG_QUIET: Final = timedelta(minutes=10)
"""The same where Ray cannot be asked: its head, and the run with it, may be coming back."""
STOPPED: Final = "Stopped on request."
MAX_LINES: Final = 200
"""Lines that are kept of what a run says of itself."""
EPOCH_SECONDS: Final = "epoch_seconds"
"""The metric of an epoch that says how long it took."""

_RAY_ENDED: Final[frozenset[RayWord]] = frozenset({"succeeded", "failed", "stopped"})
_RAY_HAS_IT: Final[frozenset[RayWord]] = frozenset({"pending", "running"})


@dataclass(frozen=True)
class RunLine:
    """Something that a run said of itself."""

    at: datetime
    text: str


@dataclass(frozen=True)
class TrainingJob:
    """One run. `model_version` and `summary` are None unless it succeeded, `error` unless it failed or was stopped.

    `heartbeat_at` None: a release that did not keep it began the run. `submission_id` and `request` None: it was started
    on a command line. `epoch` and `of_epochs` count within the step, over all networks; None where it has no epochs.
    `run_name` None: the run keeps no checkpoints.
    """

    job_id: UUID
    kind: str
    status: RunState
    started_at: datetime
    finished_at: datetime | None
    parameters: Mapping[str, object]
    model_version: str | None
    summary: Mapping[str, object] | None
    error: str | None
    queued_at: datetime | None = None
    heartbeat_at: datetime | None = None
    submission_id: str | None = None
    request: Mapping[str, object] | None = None
    request_sha256: str | None = None
    run_name: str | None = None
    step: str | None = None
    epoch: int | None = None
    of_epochs: int | None = None
    metrics: Mapping[str, float] | None = None
    lines: Sequence[RunLine] = ()

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.status in UNDER_WAY


@dataclass(frozen=True)
class Ending:
    """How a run ended that did not say so itself, and the sentence for whoever asks."""

    status: Literal["failed", "stopped"]
    sentence: str


def ending_of(job: TrainingJob, *, ray: RayWord, now: datetime) -> Ending | None:
    """How `job` has ended without a word of its own; None while it may still be alive, or has ended.

    What Ray says of the end of a job counts at once. Where Ray has the job, it lives, however long its heartbeat is
    away. Else the heartbeat decides: after `QUIET` where Ray does not know the job, `LONG_QUIET` where it is silent. A
    queued run has no heartbeat yet, so that only Ray's word ends it.
    """
    if not job.under_way or job.heartbeat_at is None or ray in _RAY_HAS_IT:
        return None
    if job.status == "queued" and ray == "silent":
        return None
    patience = LONG_QUIET if ray == "silent" else QUIET
    if ray not in _RAY_ENDED and now - job.heartbeat_at <= patience:
        return None
    if job.status == "stopping":
        return Ending("stopped", STOPPED)
    if ray == "stopped":
        return Ending("stopped", "Somebody stopped the run's job on Ray.")
    return Ending("failed", _sentence(job, ray, now))


def _sentence(job: TrainingJob, ray: RayWord, now: datetime) -> str:
    if job.status == "queued" and ray not in _RAY_ENDED:
        return "Ray never began the run: start it again, and see Ray's dashboard if it happens again."
    if ray in _RAY_ENDED:
        return "The run's process ended without saying how, as a killed one does: see its log on Ray's dashboard."
    minutes = round((now - (job.heartbeat_at or now)).total_seconds() / 60)
    return f"The run was last heard of {minutes} minutes ago and Ray does not know it: its process or Ray's head was ended."


def seconds_left(job: TrainingJob, *, earlier_s: Sequence[float], now: datetime) -> float | None:
    """Seconds until a running `job` may end: the median of `earlier_s`, what earlier runs like it took, less what it has
    taken; else its remaining epochs at the pace of the latest, or where that is not known at the mean pace since the start.
    None where nothing is known; 0 if it is overdue.
    """
    if job.status != "running":
        return None
    elapsed = (now - job.started_at).total_seconds()
    if earlier_s:
        return max(0.0, median(earlier_s) - elapsed)
    if not job.epoch or not job.of_epochs:
        return None
    # A run that goes on has epochs which took it no time: the mean since its start would promise far too much.
    epoch_s = (job.metrics or {}).get(EPOCH_SECONDS, elapsed / job.epoch)
    return max(0.0, epoch_s * (job.of_epochs - job.epoch))
