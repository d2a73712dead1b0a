"""Training runs asked for over HTTP: kept in the database, run as jobs on Ray, and reported as they are."""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from deployments.job_server import JobServer, Submission
from deployments.time_limit import NoAnswerInTimeError
from deployments.timed_runs import RunStore, TimedRuns
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import ConflictError, DependencyDownError, NotFoundError
from edupulse_ml.core.training_runs import Ending, RayWord, TrainingJob, seconds_left
from edupulse_ml.storage.training_claims import claim_run, clear_away
from edupulse_ml.storage.training_jobs import NewRun


@dataclass(frozen=True)
class Asker:
    """Who asks and under which request id, for the audit trail."""

    actor: str
    request_id: str


@dataclass(frozen=True)
class RunReport:
    """A run, and the seconds until it may end (None: not known)."""

    job: TrainingJob
    eta_s: float | None


@dataclass(frozen=True)
class Placement:
    """Where runs take place: `num_cpus` that Ray reserves for a run's process (0: on the head node), and what its
    environment has beyond that of the cluster's nodes.
    """

    environment: Mapping[str, str]
    num_cpus: float = 0


class TrainingRuns:
    """Starts, shows and stops the training runs of one district.

    Args:
        runs: Where they are kept.
        server: Runs them.
        clock: Says when they were last heard of.
        new_id: Makes the ids of runs.
        placement: Where they take place.
        answer_timeout_s: Longest wait for one answer of the store, in seconds.
    """

    def __init__(
        self,
        *,
        runs: RunStore,
        server: JobServer,
        clock: Clock,
        new_id: Callable[[], UUID],
        placement: Placement,
        answer_timeout_s: float = 8.0,
    ) -> None:
        self._runs = TimedRuns(runs, timeout_s=answer_timeout_s)
        self._server = server
        self._clock = clock
        self._new_id = new_id
        self._placement = placement

    async def start(self, order: TrainingOrder, *, key: str, asker: Asker) -> RunReport:
        """Begin a run; the one that was begun with the same `key` and order is returned as it is now.

        Raises:
            NotFoundError: the district has no run of the name that is to be resumed.
            TrainingUnderWayError: another run of the district is under way.
            KeyReusedError: the key was used for another order.
            DependencyDownError: PostgreSQL or Ray does not answer, or not in time. The same key and order may be sent again:
                they begin the run if none was begun.
        """
        if order.resume is not None and not await self._runs.knows_run_name(order.resume):
            # The folder of checkpoints may be shared with other districts.
            raise NotFoundError("This district has no training run with the run_name that is to be resumed.")
        job_id = self._new_id()
        run = NewRun(
            job_id=job_id,
            status="queued",
            asked_by=asker.actor,
            request_id=asker.request_id,
            parameters=order.as_json(),
            submission_id=f"edupulse-train-{job_id}",
            request=order.as_json(),
            request_sha256=order.sha256,
            idempotency_key=key,
            run_name=order.resume or (f"train-{job_id}" if order.workers else None),
        )
        earlier = await claim_run(self._runs, run, ask_ray=self._word, clock=self._clock)
        report = await self._as_kept(job_id) if earlier is None else await self.status(earlier.job_id)
        if report.job.status != "queued":
            return report
        # Also an earlier one: its gateway may have ended before Ray had it.
        await self._submit(report.job)
        return await self._as_kept(report.job.job_id)

    async def status(self, job_id: UUID) -> RunReport:
        """The run as it is: one that ended without a word is found out here, and kept as ended.

        Raises:
            NotFoundError: the district has no such run.
            DependencyDownError: PostgreSQL does not answer, or not in time.
        """
        job = await self._runs.find(job_id)
        if await clear_away(self._runs, job, ask_ray=self._word, clock=self._clock):
            job = await self._runs.find(job_id)
        earlier_s = await self._runs.seconds_of_runs_like(job_id) if job.status == "running" else ()
        return RunReport(job, seconds_left(job, earlier_s=earlier_s, now=self._clock.now()))

    async def stop(self, job_id: UUID, *, asker: Asker) -> RunReport:
        """Stop a run: Ray ends its process; one that was started on a command line ends itself at its next step or epoch, a
        search with the results at hand. Checkpoints and trials stay. Stopping a run that is being stopped asks Ray again.

        Raises:
            NotFoundError: the district has no such run.
            ConflictError: it has ended.
            DependencyDownError: PostgreSQL or Ray does not answer, or not in time; the run may have been told all the same.
        """
        job = await self._runs.find(job_id)
        if not job.under_way:
            raise ConflictError(f"Training run {job_id} has ended: it is {job.status}.")
        await self._runs.ask_to_stop(job_id, asked_by=asker.actor, request_id=asker.request_id)
        if job.submission_id is not None:
            await self._server.stop(job.submission_id)
        return await self._as_kept(job_id)

    async def _as_kept(self, job_id: UUID) -> RunReport:
        return RunReport(await self._runs.find(job_id), None)

    async def _word(self, job: TrainingJob) -> RayWord:
        return "unknown" if job.submission_id is None else await self._server.word(job.submission_id)

    async def _submit(self, job: TrainingJob) -> None:
        submission = Submission(
            submission_id=job.submission_id or "",
            # An absolute interpreter, because the job's PATH may find another; the run's id only, because a shell reads it.
            entrypoint=f"{shlex.quote(sys.executable)} -m jobs.cli jobs run {job.job_id}",
            environment=self._placement.environment,
            num_cpus=self._placement.num_cpus,
        )
        try:
            await self._server.submit(submission)
        except NoAnswerInTimeError:
            return  # It waits in the queue; where Ray never begins it, whoever looks next is told so.
        except DependencyDownError as error:
            never = Ending("failed", "Ray's job server did not take the run; nothing was begun.")
            if not await self._runs.settle(job, never, forget_key=True):
                return  # Ray had it after all: it was taken up meanwhile.
            msg = f"{error} The run was not begun; ask again, with the same key if you like."
            raise DependencyDownError(msg, dependency=error.dependency) from error
