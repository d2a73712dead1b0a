"""What is made of the answers of Ray's job server, without one."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ray.job_submission import JobStatus

from deployments import job_server
from deployments.job_server import RayJobServer, Submission
from deployments.time_limit import NoAnswerInTimeError
from edupulse_ml.core.errors import DependencyDownError

JOB = Submission("edupulse-train-1", "python -m x 1", {"EDUPULSE_DISTRICT": "demo"}, num_cpus=0)
UNKNOWN = RuntimeError("Request failed with status code 404: Job edupulse-train-1 does not exist.")
TWICE = RuntimeError("Request failed with status code 500: Job edupulse-train-1 already exists.")


class Client:
    """Answers as scripted; an exception is raised."""

    made: list[str]
    submit: Any = "edupulse-train-1"
    status: Any = JobStatus.RUNNING
    submitted: dict[str, Any]

    def __init__(self, address: str) -> None:
        Client.made.append(address)

    def submit_job(self, **options: Any) -> str:
        Client.submitted = options
        return _answer(Client.submit)

    def get_job_status(self, submission_id: str) -> JobStatus:
        return _answer(Client.status)

    def stop_job(self, submission_id: str) -> bool:
        return _answer(Client.status) is JobStatus.RUNNING


def _answer(scripted: Any) -> Any:
    if isinstance(scripted, Exception):
        raise scripted
    return scripted() if callable(scripted) else scripted


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_server, "_ImpatientClient", Client)
    monkeypatch.setattr(Client, "made", [], raising=False)
    monkeypatch.setattr(Client, "submit", "edupulse-train-1")
    monkeypatch.setattr(Client, "status", JobStatus.RUNNING)


def asked(work: Callable[[RayJobServer], Any], *, timeout_s: float = 5.0) -> Any:
    async def main() -> Any:
        return await work(RayJobServer("http://ray:8265", timeout_s=timeout_s))

    return asyncio.run(main())


def test_a_job_is_submitted_under_its_id_and_without_cpus_on_the_head() -> None:
    asked(lambda server: server.submit(JOB))
    assert Client.submitted == {
        "entrypoint": JOB.entrypoint,
        "submission_id": JOB.submission_id,
        "runtime_env": {"env_vars": {"EDUPULSE_DISTRICT": "demo"}},
        "entrypoint_num_cpus": None,
    }


def test_a_job_that_ray_has_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "submit", TWICE)
    asked(lambda server: server.submit(JOB))


@pytest.mark.parametrize("status", [UNKNOWN, ConnectionError("refused")])
def test_a_job_that_ray_does_not_take_is_an_error(monkeypatch: pytest.MonkeyPatch, status: Exception) -> None:
    monkeypatch.setattr(Client, "submit", RuntimeError("Request failed with status code 500: no."))
    monkeypatch.setattr(Client, "status", status)
    with pytest.raises(DependencyDownError) as told:
        asked(lambda server: server.submit(JOB))
    assert told.value.dependency == "ray job server"
    assert "status code 500" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (JobStatus.PENDING, "pending"),
        (JobStatus.RUNNING, "running"),
        (JobStatus.SUCCEEDED, "succeeded"),
        (JobStatus.FAILED, "failed"),
        (JobStatus.STOPPED, "stopped"),
        (UNKNOWN, "unknown"),
        (RuntimeError("Request failed with status code 500: x"), "silent"),
        (ConnectionError("refused"), "silent"),
        (ValueError("no address"), "silent"),
    ],
)
def test_the_word_of_ray(monkeypatch: pytest.MonkeyPatch, status: Any, word: str) -> None:
    monkeypatch.setattr(Client, "status", status)
    assert asked(lambda server: server.word(JOB.submission_id)) == word


def test_a_job_that_ray_does_not_know_needs_no_stop_and_a_server_that_is_down_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked(lambda server: server.stop(JOB.submission_id))
    monkeypatch.setattr(Client, "status", UNKNOWN)
    asked(lambda server: server.stop(JOB.submission_id))
    monkeypatch.setattr(Client, "status", ConnectionError("refused"))
    with pytest.raises(DependencyDownError):
        asked(lambda server: server.stop(JOB.submission_id))


def test_a_server_that_hangs_is_not_waited_for_and_may_still_take_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(Client, "submit", released.wait)

    async def work(server: RayJobServer) -> None:
        try:
            with pytest.raises(NoAnswerInTimeError):
                await server.submit(JOB)
        finally:
            released.set()

    asked(work, timeout_s=0.05)


def test_the_server_is_looked_up_again_after_a_failure_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: RayJobServer) -> None:
        await server.word("a")
        await server.word("b")
        assert len(Client.made) == 1
        monkeypatch.setattr(Client, "status", ConnectionError("refused"))
        await server.word("a")
        monkeypatch.setattr(Client, "status", JobStatus.RUNNING)
        assert await server.word("a") == "running"
        assert len(Client.made) == 2

    asked(work)
