"""A training run's own account of itself: taken up or begun in the database, heard from while it lives, and ended."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID, uuid4

import structlog

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError, EduPulseError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.training_runs import HEARTBEAT, MAX_LINES, RayWord, RunLine, TrainingJob
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.training_claims import claim_run
from edupulse_ml.storage.training_jobs import NewRun, News, TrainingJobRepository
from jobs.wiring import JobContext, open_context

COMMAND: Final = "edupulse train"
_FLUSH_S: Final = 1.0
"""How long what is new may wait; epochs that end faster are told together."""
_TICK_S: Final = 0.2

_log = structlog.get_logger(__name__)


class RunStoppedError(ConflictError):
    """The run was asked to stop, or was taken for ended because nobody had heard of it."""

    title = "Training run stopped"


class RunRecord(Protocol):
    """Told what a run does. No word of it may hold student data."""

    @property
    def is_stopped(self) -> bool:
        """Whether the run is to end at its next step."""
        ...

    def step(self, name: str, *, of_epochs: int | None = None) -> None:
        """A piece of work begins; `of_epochs` is the most epochs it has, None where it has none."""
        ...

    def progress(self, metrics: Mapping[str, float]) -> None:
        """Something was done; with a metric `epoch` in it, an epoch."""
        ...


class _Silent:
    is_stopped = False

    def step(self, name: str, *, of_epochs: int | None = None) -> None:
        pass

    def progress(self, metrics: Mapping[str, float]) -> None:
        pass


SILENT: Final[RunRecord] = _Silent()
"""For a run that nobody asks about."""


class LiveRecord:
    """Tells the database, from a thread of its own, that the run lives and what it does; whoever works tells it here and
    never waits. A database that does not answer is told later.

    `step` and `progress` raise `RunStoppedError` once the run was asked to stop: it ends there. Methods that tell the
    database take the `jobs` of the event loop that they run on.
    """

    def __init__(self, job_id: UUID, *, clock: Clock) -> None:
        self.job_id = job_id
        self._clock = clock
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._news = News()
        self._lines: deque[RunLine] = deque(maxlen=MAX_LINES)
        self._is_new = True
        self._stop_because: str | None = None

    def step(self, name: str, *, of_epochs: int | None = None) -> None:
        """See `RunRecord`; raises `RunStoppedError`."""
        self.heed()
        self.note(name, of_epochs=of_epochs)

    def note(self, name: str, *, of_epochs: int | None = None) -> None:
        """The same for who must not be interrupted here, and looks at `is_stopped` elsewhere."""
        with self._lock:
            self._news = replace(self._news, step=name, epoch=None if of_epochs is None else 0, of_epochs=of_epochs)
            self._say(name)

    def progress(self, metrics: Mapping[str, float]) -> None:
        """See `RunRecord`; raises `RunStoppedError`."""
        self.heed()
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        with self._lock:
            if self._news.epoch is None or "epoch" not in metrics:
                return  # a rival's own figures
            done = self._news.epoch + 1
            self._news = replace(self._news, epoch=done, metrics=finite)
            told = ", ".join(f"{name} {value:.4g}" for name, value in finite.items() if name.startswith("validation"))
            self._say(
                f"{self._news.step}: epoch {done} of at most {self._news.of_epochs}" + (f"; {told}" if told else "")
            )

    @property
    def is_stopped(self) -> bool:
        """See `RunRecord`."""
        return self._stop_because is not None

    def heed(self) -> None:
        """Return unless the run is to end.

        Raises:
            RunStoppedError: it is.
        """
        if self._stop_because is not None:
            raise RunStoppedError(self._stop_because)

    async def succeed(
        self, jobs: TrainingJobRepository, *, model_version: ModelVersion, summary: Mapping[str, object]
    ) -> None:
        """The run ended with a registered model."""
        await self.flush(jobs)
        await jobs.succeed(self.job_id, model_version=model_version, summary=summary)

    async def fail(self, jobs: TrainingJobRepository, error: BaseException) -> None:
        """The run ended without a model. What the database cannot be told is logged: the error itself counts more."""
        # Only our own sentences are free of student data; of anything else the kind of error is kept.
        told = str(error) if isinstance(error, EduPulseError) else type(error).__name__
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            told = self._stop_because = "Interrupted."  # ends the thread that trains, too
        try:
            await self.flush(jobs)
            await jobs.fail(self.job_id, error=told)
        except EduPulseError as unheard:
            _log.warning("run_end_not_kept", job_id=str(self.job_id), error=str(unheard))

    async def flush(self, jobs: TrainingJobRepository) -> None:
        """Tell the database what is new, and that the run lives; learn whether it is to stop.

        Raises:
            DependencyDownError: it does not answer; all is kept for the next time.
        """
        # One at a time, or what the heartbeat has in hand would arrive after the end and be lost.
        while not self._telling.acquire(blocking=False):  # noqa: ASYNC110 - whoever holds it is on another event loop
            await asyncio.sleep(_TICK_S / 10)
        try:
            await self._tell_news(jobs)
        finally:
            self._telling.release()

    @property
    def has_news(self) -> bool:
        """Whether there is something that the database was not told."""
        return self._is_new

    async def _tell_news(self, jobs: TrainingJobRepository) -> None:
        with self._lock:
            news, lines = self._news, tuple(self._lines)
            self._lines.clear()
            self._is_new = False
        try:
            state = await jobs.hear(self.job_id, replace(news, lines=lines))
        except EduPulseError:
            with self._lock:
                self._lines = deque((*lines, *self._lines), maxlen=MAX_LINES)
                self._is_new = True
            raise
        if state is None:
            self._stop_because = (
                "The run was taken for ended, because nobody had heard of it for minutes: start it again."
            )
        elif state == "stopping":
            self._stop_because = "The run was asked to stop."

    def _say(self, text: str) -> None:
        self._lines.append(RunLine(self._clock.now(), text))
        self._is_new = True


async def take_up(settings: Settings, job_id: UUID, *, clock: Clock) -> TrainingJob:
    """Begin a queued run in this process; whoever trains next calls `recorded_run` with its id.

    Raises:
        NotFoundError: the district has no such run.
        ConflictError: it does not wait: it was stopped, or another process has it.
    """
    async with open_context(settings, clock=clock) as context:
        return await TrainingJobRepository(context.database, clock=clock).take_up(job_id)


@asynccontextmanager
async def recorded_run(
    context: JobContext, job_id: UUID | None, *, parameters: Mapping[str, object], run_name: str | None
) -> AsyncGenerator[LiveRecord, None]:
    """The account of a run that lasts as long as the block: taken up as `job_id`, or begun here. An error in the block
    is kept as its end.

    Raises:
        TrainingUnderWayError: another training run of the district is under way.
    """
    jobs = TrainingJobRepository(context.database, clock=context.clock)
    if job_id is None:
        job_id = await _begin(jobs, context.clock, parameters, run_name)
    record = LiveRecord(job_id, clock=context.clock)
    with heard_of(context, record):
        try:
            yield record
        except BaseException as error:
            await record.fail(jobs, error)
            raise


async def _begin(
    jobs: TrainingJobRepository, clock: Clock, parameters: Mapping[str, object], run_name: str | None
) -> UUID:
    job_id = uuid4()
    run = NewRun(
        job_id=job_id,
        status="running",
        asked_by=COMMAND,
        request_id=str(job_id),
        parameters=parameters,
        run_name=run_name,
    )
    await claim_run(jobs, run, ask_ray=not_asked, clock=clock)
    return job_id


async def not_asked(job: TrainingJob) -> RayWord:
    """What can be said of a run's job without asking Ray."""
    return "unknown" if job.submission_id is None else "silent"


@contextmanager
def heard_of(context: JobContext, record: LiveRecord) -> Generator[None, None, None]:
    """A thread with connections of its own, because whoever trains may keep an event loop busy for minutes."""
    ended = threading.Event()
    teller = threading.Thread(
        target=lambda: asyncio.run(_tell(context, record, ended)), name="training-heartbeat", daemon=True
    )
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


async def _tell(context: JobContext, record: LiveRecord, ended: threading.Event) -> None:
    url, district_id = context.endpoints.database_url, context.district_id
    async with Database(url, district_id=district_id, max_connections=1) as database:
        jobs = TrainingJobRepository(database, clock=context.clock)
        waited_s = 0.0
        while not ended.is_set():
            if waited_s >= HEARTBEAT.total_seconds() or (record.has_news and waited_s >= _FLUSH_S):
                waited_s = 0.0
                try:
                    await record.flush(jobs)
                except EduPulseError as error:
                    _log.warning("run_not_heard_of", job_id=str(record.job_id), error=str(error))
            await asyncio.sleep(_TICK_S)
            waited_s += _TICK_S
