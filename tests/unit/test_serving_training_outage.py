"""Training routes while PostgreSQL hangs, and starts that arrive twice because an answer or a replica was lost."""

import asyncio
import time
import warnings
from typing import Any
from uuid import UUID

import pytest

from deployments.ingress.api import create_api
from tests.fakes.serving import TOKEN, LocalServing
from tests.fakes.training import LocalTraining

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "k"}
JOB = UUID(int=1)


async def hang(*_: object, **__: object) -> Any:
    await asyncio.sleep(30)


@pytest.fixture
def serving() -> LocalServing:
    serving = LocalServing(load_model=False)
    serving.training = LocalTraining(serving.district.clock, answer_timeout_s=0.1)
    return serving


@pytest.fixture
def client(serving: LocalServing):
    with TestClient(create_api(serving.services()), headers=HEADERS, raise_server_exceptions=False) as client:
        yield client


def start(client: TestClient) -> Any:
    return client.post("/api/v1/training/start", json={})


CALLS = {
    "start": start,
    "status": lambda client: client.get(f"/api/v1/training/status/{JOB}"),
    "stop": lambda client: client.post(f"/api/v1/training/stop/{JOB}"),
}


@pytest.mark.parametrize(
    ("route", "hangs"),
    [
        ("start", "claim"),
        ("start", "find"),
        ("status", "find"),
        ("status", "settle"),
        ("status", "seconds_of_runs_like"),
        ("stop", "find"),
        ("stop", "ask_to_stop"),
    ],
)
def test_a_database_that_hangs_is_named_in_time(
    serving: LocalServing, client: TestClient, monkeypatch: pytest.MonkeyPatch, route: str, hangs: str
) -> None:
    if route != "start":
        assert start(client).status_code == 202
    if hangs == "settle":
        serving.training.server.words[f"edupulse-train-{JOB}"] = "failed"
    if hangs == "seconds_of_runs_like":
        asyncio.run(serving.training.store.take_up(JOB))
    monkeypatch.setattr(serving.training.store, hangs, hang)
    started = time.perf_counter()
    response = CALLS[route](client)
    assert time.perf_counter() - started < 5
    assert response.status_code == 503, response.text
    assert response.json()["dependency"] == "postgresql"
    assert int(response.headers["retry-after"]) > 0


def test_a_start_that_was_cut_off_is_repeated_with_its_key(
    serving: LocalServing, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(serving.training.store, "find", hang)
        assert start(client).status_code == 503
    again = start(client)
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert len(serving.training.store.jobs) == 1


def test_a_start_without_a_key_begins_nothing_and_is_told_to_send_one(
    serving: LocalServing, client: TestClient
) -> None:
    del client.headers["Idempotency-Key"]
    answer = start(client)
    assert (answer.status_code, "Idempotency-Key is missing" in answer.json()["detail"]) == (422, True)
    assert serving.training.store.jobs == {}
    described = client.get("/openapi.json").json()["paths"]["/api/v1/training/start"]["post"]["parameters"]
    assert [(parameter["name"], parameter["required"]) for parameter in described] == [("Idempotency-Key", True)]


def test_a_start_that_the_proxy_sends_again_is_the_run_that_it_began(
    serving: LocalServing, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(_: object) -> None:
        raise RuntimeError("the replica dies between keeping the run and handing it to Ray")

    training = serving.training
    with monkeypatch.context() as patch:
        patch.setattr(training.server, "submit", dies)
        assert start(client).status_code == 500
    again = start(client)
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert [job.status for job in training.store.jobs.values()] == ["queued"]
    assert len(training.server.submissions) == 1
