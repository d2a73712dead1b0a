"""Every route and error path of the API for training runs and registered models, over fakes."""

import asyncio
import json
import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from deployments.ingress.api import create_api
from edupulse_ml.core.training_runs import QUIET, RunLine
from edupulse_ml.storage.training_jobs import News
from tests.fakes.serving import TOKEN, LocalServing
from tests.fakes.training import LocalTraining

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

START = "/api/v1/training/start"
ALONE = timedelta(seconds=1)


@pytest.fixture
def serving() -> LocalServing:
    return LocalServing(load_model=False)


@pytest.fixture
def training(serving: LocalServing) -> LocalTraining:
    return serving.training


@pytest.fixture
def client(serving: LocalServing) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(create_api(serving.services()), headers=headers, raise_server_exceptions=False) as client:
        yield client


def a_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def started(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post(START, json=body, headers=a_key())
    assert response.status_code == 202, response.text
    return response.json()


def status(client: TestClient, run: dict[str, Any]) -> dict[str, Any]:
    response = client.get(f"/api/v1/training/status/{run['job_id']}")
    assert response.status_code == 200, response.text
    return response.json()


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


def test_a_start_is_accepted_and_says_where_to_look(client: TestClient, training: LocalTraining) -> None:
    response = client.post(START, json={"strategy": "gru", "epochs": 7, "promote": False}, headers=a_key())
    assert response.status_code == 202, response.text
    run = response.json()
    assert response.headers["location"] == f"/api/v1/training/status/{run['job_id']}"
    assert (run["state"], run["request"]["strategy"], run["request"]["epochs"]) == ("queued", "gru", 7)
    assert run["request"]["seeds"] == 3
    assert status(client, run) == run
    assert [entry[1:] for entry in training.store.audit] == [("train_start", "queued")]
    assert training.store.audit[0][0].startswith("token-")


def test_ray_is_told_the_run_and_nothing_of_the_request(client: TestClient, training: LocalTraining) -> None:
    run = started(client, strategy="gru", seeds=17)
    (submission,) = training.server.submissions
    assert submission.submission_id == f"edupulse-train-{run['job_id']}"
    assert submission.entrypoint == f"{sys.executable} -m jobs.cli jobs run {run['job_id']}"
    assert submission.environment == {"EDUPULSE_DISTRICT": "demo"}


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ({"strategy": "magic"}, "body.strategy"),
        ({"seeds": 0}, "body.seeds"),
        ({"seeds": 21}, "body.seeds"),
        ({"seeds": "3"}, "body.seeds"),
        ({"epochs": 0}, "body.epochs"),
        ({"epochs": 1.5}, "body.epochs"),
        ({"workers": -1}, "body.workers"),
        ({"test_year": 24}, "body.test_year"),
        ({"replicates": 9}, "body.replicates"),
        ({"promote": "yes"}, "body.promote"),
        ({"resume": "../elsewhere", "workers": 1}, "body.resume"),
        ({"resume": "train-1"}, "body"),
        ({"resume": "train-1", "workers": 1, "strategy": "boosted"}, "body"),
        ({"gpu": True}, "body"),
        ({"by_person": True, "test_year": 2024}, "body"),
        ({"Jane-Doe": 1}, "body.(unknown field)"),
        ([], "body"),
    ],
)
def test_what_edupulse_train_would_refuse_is_422(
    client: TestClient, training: LocalTraining, body: Any, location: str
) -> None:
    answer = problem(client.post(START, json=body, headers=a_key()), 422)
    assert [error["location"] for error in answer["errors"]] == [location]
    assert not any(word in json.dumps(answer) for word in ("magic", "Jane", "elsewhere"))
    assert training.store.jobs == {}


def test_one_run_at_a_time_and_the_refusal_names_the_other(client: TestClient, training: LocalTraining) -> None:
    run = started(client)
    answer = problem(client.post(START, json={}, headers=a_key()), 409)
    assert run["job_id"] in answer["detail"]
    assert len(training.server.submissions) == 1
    assert [outcome for _, _, outcome in training.store.audit] == ["queued", "refused"]


def test_the_same_key_is_the_same_run_also_after_its_end(client: TestClient, training: LocalTraining) -> None:
    headers = {"Idempotency-Key": "monthly-2025-06"}
    first = client.post(START, json={"seed": 1}, headers=headers).json()
    again = client.post(START, json={"seed": 1}, headers=headers)
    assert (again.status_code, again.json()["job_id"]) == (202, first["job_id"])
    training.server.words[f"edupulse-train-{first['job_id']}"] = "failed"
    ended = client.post(START, json={"seed": 1, "epochs": 50}, headers=headers)  # 50 is what is taken anyhow
    assert (ended.status_code, ended.json()["state"]) == (202, "failed")
    assert ended.headers["location"].endswith(first["job_id"])
    assert len(training.store.jobs) == 1


def test_the_same_key_with_another_body_is_422(client: TestClient, training: LocalTraining) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post(START, json={"seed": 1}, headers=headers)
    assert "another request" in problem(client.post(START, json={"seed": 2}, headers=headers), 422)["detail"]
    assert len(training.store.jobs) == 1


@pytest.mark.parametrize("key", ["", "with blank", "x" * 201])
def test_a_key_is_one_word(client: TestClient, key: str) -> None:
    answer = problem(client.post(START, json={}, headers={"Idempotency-Key": key}), 422)
    assert answer["errors"][0]["location"] == "header.idempotency-key"


def test_without_ray_nothing_is_begun_and_the_key_may_be_used_again(
    client: TestClient, training: LocalTraining
) -> None:
    training.server.down = True
    answer = problem(client.post(START, json={}, headers={"Idempotency-Key": "k"}), 503)
    assert answer["dependency"] == "ray job server"
    assert [job.status for job in training.store.jobs.values()] == ["failed"]
    training.server.down = False
    assert client.post(START, json={}, headers={"Idempotency-Key": "k"}).json()["state"] == "queued"


def test_a_busy_head_may_take_the_run_later_or_never(
    serving: LocalServing, client: TestClient, training: LocalTraining
) -> None:
    training.server.slow = True
    run = started(client)
    assert status(client, run)["state"] == "queued"
    training.server.words[f"edupulse-train-{run['job_id']}"] = "pending"
    serving.district.clock.advance(QUIET + ALONE)
    assert status(client, run)["state"] == "queued"
    training.server.words.clear()
    seen = status(client, run)
    assert (seen["state"], "never began" in seen["error"]) == ("failed", True)


def test_a_gateway_that_ended_before_ray_had_the_run_is_made_good(client: TestClient, training: LocalTraining) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post(START, json={}, headers=headers)
    training.server.submissions.clear()
    training.server.words.clear()
    assert client.post(START, json={}, headers=headers).json()["state"] == "queued"
    assert len(training.server.submissions) == 1


def test_a_run_tells_its_step_epoch_metrics_and_lines(
    serving: LocalServing, client: TestClient, training: LocalTraining
) -> None:
    run = started(client)
    job_id = UUID(run["job_id"])

    async def work() -> None:
        await training.store.take_up(job_id)
        serving.district.clock.advance(timedelta(seconds=30))
        line = RunLine(serving.district.clock.now(), "training (gru): epoch 10 of at most 50")
        await training.store.hear(job_id, News("training (gru)", 10, 50, {"validation_loss": 0.25}, [line]))

    asyncio.run(work())
    now = status(client, run)
    assert (now["state"], now["step"], now["epoch"], now["of_epochs"]) == ("running", "training (gru)", 10, 50)
    assert now["metrics"] == {"validation_loss": 0.25}
    assert [line["text"] for line in now["log"]] == ["training (gru): epoch 10 of at most 50"]
    assert now["eta_s"] == pytest.approx(120.0)


def test_earlier_runs_tell_how_long_this_one_takes(
    serving: LocalServing, client: TestClient, training: LocalTraining
) -> None:
    first = UUID(started(client)["job_id"])

    async def finish() -> None:
        await training.store.take_up(first)
        serving.district.clock.advance(timedelta(seconds=600))
        await training.store.succeed(first, model_version="4", summary={"test.auc": 0.8})

    asyncio.run(finish())
    ended = client.get(f"/api/v1/training/status/{first}").json()
    assert (ended["state"], ended["model_version"], ended["eta_s"]) == ("succeeded", "4", None)
    run = started(client)
    asyncio.run(training.store.take_up(UUID(run["job_id"])))
    serving.district.clock.advance(timedelta(seconds=60))
    training.server.words[f"edupulse-train-{run['job_id']}"] = "running"
    assert status(client, run)["eta_s"] == pytest.approx(540.0)


def test_a_killed_run_is_seen_as_failed_and_does_not_block_the_next(
    client: TestClient, training: LocalTraining
) -> None:
    run = started(client)
    asyncio.run(training.store.take_up(UUID(run["job_id"])))
    training.server.words[f"edupulse-train-{run['job_id']}"] = "failed"
    seen = status(client, run)
    assert (seen["state"], seen["finished_at"] is None) == ("failed", False)
    assert "ended without saying how" in seen["error"]
    assert started(client)["state"] == "queued"


def test_a_start_clears_away_a_run_that_ended_without_a_word_also_one_nobody_looked_at(
    serving: LocalServing, client: TestClient, training: LocalTraining
) -> None:
    run = started(client)
    asyncio.run(training.store.take_up(UUID(run["job_id"])))
    training.server.words.clear()  # the head was started again and has lost its jobs
    problem(client.post(START, json={}, headers=a_key()), 409)
    serving.district.clock.advance(QUIET + ALONE)
    assert started(client)["job_id"] != run["job_id"]
    assert status(client, run)["state"] == "failed"


def test_a_run_is_stopped_by_ray_and_is_stopped_when_ray_says_so(client: TestClient, training: LocalTraining) -> None:
    run = started(client, workers=2)
    asyncio.run(training.store.take_up(UUID(run["job_id"])))
    submission = f"edupulse-train-{run['job_id']}"
    training.server.words[submission] = "running"
    response = client.post(f"/api/v1/training/stop/{run['job_id']}")
    assert (response.status_code, response.json()["state"]) == (202, "stopping")
    assert client.post(f"/api/v1/training/stop/{run['job_id']}").status_code == 202
    assert training.server.stopped == [submission, submission]
    training.server.words[submission] = "stopped"
    seen = status(client, run)
    assert (seen["state"], seen["error"], seen["run_name"]) == (
        "stopped",
        "Stopped on request.",
        f"train-{run['job_id']}",
    )
    assert "stopped" in problem(client.post(f"/api/v1/training/stop/{run['job_id']}"), 409)["detail"]
    assert [entry[1:] for entry in training.store.audit] == [("train_start", "queued"), ("train_stop", "stopping")]


def test_only_a_run_of_this_district_is_resumed(client: TestClient, training: LocalTraining) -> None:
    problem(client.post(START, json={"resume": "train-of-others", "workers": 2}, headers=a_key()), 404)
    assert training.store.jobs == {}
    first = started(client, workers=2)
    client.post(f"/api/v1/training/stop/{first['job_id']}")
    again = started(client, workers=2, resume=first["run_name"])
    assert again["run_name"] == first["run_name"]


def test_a_queued_run_is_stopped_at_once(client: TestClient, training: LocalTraining) -> None:
    run = started(client)
    assert client.post(f"/api/v1/training/stop/{run['job_id']}").json()["state"] == "stopped"
    assert training.server.stopped == [f"edupulse-train-{run['job_id']}"]


def test_a_stop_that_ray_does_not_hear_is_503_and_can_be_repeated(client: TestClient, training: LocalTraining) -> None:
    run = started(client)
    asyncio.run(training.store.take_up(UUID(run["job_id"])))
    training.server.words[f"edupulse-train-{run['job_id']}"] = "running"
    training.server.down = True
    problem(client.post(f"/api/v1/training/stop/{run['job_id']}"), 503)
    training.server.down = False
    assert client.post(f"/api/v1/training/stop/{run['job_id']}").json()["state"] == "stopping"


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_run_is_404_and_a_wrong_id_422(client: TestClient, method: str) -> None:
    path = "/api/v1/training/status" if method == "get" else "/api/v1/training/stop"
    problem(getattr(client, method)(f"{path}/{UUID(int=99)}"), 404)
    problem(getattr(client, method)(f"{path}/latest"), 422)


def test_models_are_listed(client: TestClient) -> None:
    models = client.get("/api/v1/models").json()["models"]
    assert [(model["model_version"], model["aliases"]) for model in models] == [("2", ["champion"]), ("1", [])]
    assert len(client.get("/api/v1/models", params={"limit": 1}).json()["models"]) == 1
    problem(client.get("/api/v1/models", params={"limit": 101}), 422)


def test_a_model_is_shown_with_its_figures_and_report(client: TestClient) -> None:
    model = client.get("/api/v1/models/2").json()
    assert (model["metrics"], model["tags"]) == ({"test.auc": 0.8}, {"strategy": "ensemble"})
    assert model["report"] == {"title": "District demo"}
    assert client.get("/api/v1/models/1").json()["report"] is None
    problem(client.get("/api/v1/models/7"), 404)
    problem(client.get("/api/v1/models/champion"), 422)


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        ("text/html", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("application/json;q=0.5, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=much", False),
        ("*/*", False),
        ("application/json", False),
    ],
)
def test_whoever_prefers_html_gets_the_card(client: TestClient, accept: str, is_html: bool) -> None:
    response = client.get("/api/v1/models/2", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html" if is_html else "application/json")
    assert response.headers["vary"] == "Accept"


def test_the_card_is_a_page_that_loads_and_runs_nothing(client: TestClient) -> None:
    response = client.get("/api/v1/models/2/card")
    assert "Model card" in response.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    problem(client.get("/api/v1/models/1/card"), 404)
    problem(client.get("/api/v1/models/7/card"), 404)


def test_the_current_model_is_still_its_own_route(client: TestClient) -> None:
    problem(client.get("/api/v1/models/current"), 503)
