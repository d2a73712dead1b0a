"""Ray's job server, asked over HTTP with Ray's token: submit a job, look at it, stop it."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import ray
from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient

from deployments.time_limit import NoAnswerInTimeError
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.training_runs import RayWord

DEPENDENCY: Final = "ray job server"
_LONGEST_S: Final = 60.0
"""Of one request: a busy head takes long to begin a job, and a thread must not wait for ever on one that hangs."""
_THREADS: Final = 4
_NOT_FOUND: Final = "status code 404"
_Result = TypeVar("_Result")

_WORDS: Final[Mapping[JobStatus, RayWord]] = {
    JobStatus.PENDING: "pending",
    JobStatus.RUNNING: "running",
    JobStatus.STOPPED: "stopped",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
}


@dataclass(frozen=True)
class Submission:
    """A job to be submitted. `num_cpus` 0: it runs on the head node; more: where Ray reserves them. Ray shows all of it in
    its dashboard, so what a run is asked for does not belong here.
    """

    submission_id: str
    entrypoint: str
    environment: Mapping[str, str] = field(default_factory=dict)
    num_cpus: float = 0


class JobServer(Protocol):
    """Runs jobs outside of this process."""

    async def submit(self, submission: Submission) -> None: ...

    async def word(self, submission_id: str) -> RayWord: ...

    async def stop(self, submission_id: str) -> None: ...


class RayJobServer:
    """The job server of one Ray cluster.

    Args:
        address: URL of its dashboard; None: of the cluster that this process is in. Ray lets RAY_API_SERVER_ADDRESS and
            RAY_ADDRESS override it, so neither may name another cluster where this runs.
        timeout_s: How long the caller waits for an answer, in seconds.
    """

    def __init__(self, address: str | None, *, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._client: JobSubmissionClient | None = None
        # Ray's client waits; threads of its own keep a server that hangs from taking those of everybody else.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ray-jobs")

    async def submit(self, submission: Submission) -> None:
        """Hand the job to Ray; one that Ray has already under the same id stays as it is.

        Raises:
            NoAnswerInTimeError: Ray has not answered yet, and may still take it.
            DependencyDownError: Ray does not take it.
        """
        try:
            await self._ask(lambda client: _submit(client, submission))
        except NoAnswerInTimeError:
            raise
        except DependencyDownError:
            if await self.word(submission.submission_id) in {"unknown", "silent"}:
                raise

    async def word(self, submission_id: str) -> RayWord:
        """What Ray says of the job; never raises: a server that does not answer is `silent`."""
        try:
            return await self._ask(lambda client: _word(client, submission_id))
        except DependencyDownError:
            return "silent"

    async def stop(self, submission_id: str) -> None:
        """Ask Ray to end the job's process and all that it started: at first kindly, after three seconds not. A job that
        Ray does not know, or that has ended, needs nothing.

        Raises:
            DependencyDownError: Ray does not answer.
        """
        await self._ask(lambda client: _stop(client, submission_id))

    async def _ask(self, question: Callable[[JobSubmissionClient], _Result]) -> _Result:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, self._answer, question), self._timeout_s)
        except TimeoutError as error:
            msg = f"Ray's job server did not answer within {self._timeout_s:g} seconds: see whether its head is busy."
            raise NoAnswerInTimeError(msg, dependency=DEPENDENCY) from error
        except (OSError, RuntimeError, ValueError, RayError) as error:
            self._client = None  # a head that was started again has another address
            msg = f"Ray's job server does not answer ({type(error).__name__}): look at `edupulse status` and Ray's dashboard."
            raise DependencyDownError(msg, dependency=DEPENDENCY) from error

    def _answer(self, question: Callable[[JobSubmissionClient], _Result]) -> _Result:
        client = self._client
        if client is None:
            address = self._address or ray.get_runtime_context().gcs_address
            client = self._client = _ImpatientClient(address)
        return question(client)


class _ImpatientClient(JobSubmissionClient):
    """Ray's client waits for ever on a server that hangs."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        return super()._do_request(method, endpoint, **{"timeout": _LONGEST_S, **options})


def _submit(client: JobSubmissionClient, submission: Submission) -> None:
    client.submit_job(
        entrypoint=submission.entrypoint,
        submission_id=submission.submission_id,
        runtime_env={"env_vars": dict(submission.environment)},
        entrypoint_num_cpus=submission.num_cpus or None,
    )


def _word(client: JobSubmissionClient, submission_id: str) -> RayWord:
    try:
        return _WORDS[client.get_job_status(submission_id)]
    except RuntimeError as error:
        if _NOT_FOUND in str(error):
            return "unknown"
        raise


def _stop(client: JobSubmissionClient, submission_id: str) -> None:
    try:
        client.stop_job(submission_id)
    except RuntimeError as error:
        if _NOT_FOUND not in str(error):
            raise
