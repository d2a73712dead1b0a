"""Serve's configuration as the stack fills it in, and what is said when the deployment fails."""

import re
from pathlib import Path

import httpx
import pytest

from edupulse_ml.core.errors import InvalidInputError
from jobs.stack import serve
from jobs.stack.serve import DeployFailedError, ServeClient, load_config, local_config

DOCUMENT = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000, "request_timeout_s": 10},
    "applications": [
        {
            "name": "edupulse",
            "deployments": [{"name": "RiskModel", "user_config": {"model": "champion"}}, {"name": "Gateway"}],
        }
    ],
}


def test_local_config_listens_on_the_loopback_address_only() -> None:
    local = local_config(DOCUMENT, http_port=8123)
    assert local["http_options"] == {"host": "127.0.0.1", "port": 8123, "request_timeout_s": 10}
    assert local["proxy_location"] == "HeadOnly"
    assert DOCUMENT["http_options"]["port"] == 8000


def test_on_one_node_a_training_run_waits_for_no_cpu() -> None:
    document = load_config()
    local = local_config(document, http_port=8123)
    (there,), (here,) = document["applications"], local["applications"]
    assert there["args"]["training_cpus"] > 0
    assert here == {**there, "args": {**there["args"], "training_cpus": 0}}


@pytest.mark.parametrize("text", [None, "applications: [", "applications: []", "just text"])
def test_an_unusable_configuration_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "serve_config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInputError, match=re.escape(str(path))):
        load_config(path)


class Dashboard:
    """Answers as Ray's Serve REST API would, one status per poll."""

    def __init__(self, *answers: dict) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, object, str]] = []

    def __call__(self, method: str, url: str, *, json: object, headers: dict, **_: object) -> httpx.Response:
        self.requests.append((method, url, json, headers["Authorization"]))
        if method != "GET":
            return httpx.Response(200)
        return httpx.Response(200, json={"applications": self.answers.pop(0)})


@pytest.fixture
def client(monkeypatch) -> ServeClient:
    monkeypatch.setattr(serve, "_POLL_S", 0.0)
    return ServeClient("http://127.0.0.1:8265", "secret", Path("/logs/serve"))


def test_deploy_waits_until_the_application_runs(client: ServeClient, monkeypatch) -> None:
    dashboard = Dashboard({}, {}, {"edupulse": {"status": "DEPLOYING"}}, {"edupulse": {"status": "RUNNING"}})
    monkeypatch.setattr(httpx, "request", dashboard)
    client.deploy(DOCUMENT)
    assert dashboard.answers == []
    assert dashboard.requests[1] == (
        "PUT",
        "http://127.0.0.1:8265/api/serve/applications/",
        DOCUMENT,
        "Bearer secret",
    )


def test_a_failed_deployment_says_which_one_and_where_the_logs_are(client: ServeClient, monkeypatch) -> None:
    failed = {
        "edupulse": {
            "status": "DEPLOY_FAILED",
            "message": "a replica died",
            "deployments": {
                "Gateway": {"status": "HEALTHY", "message": ""},
                "RiskModel": {
                    "status": "UNHEALTHY",
                    "message": "Three tries.\n\x1b[36mTraceback\x1b[0m\n  x\nOSError: no such file\n",
                },
            },
        }
    }
    monkeypatch.setattr(httpx, "request", Dashboard({}, failed))
    with pytest.raises(DeployFailedError) as caught:
        client.deploy(DOCUMENT)
    message = str(caught.value)
    assert "a replica died" in message
    assert "RiskModel is UNHEALTHY. Three tries. ... OSError: no such file\n" in message
    assert "/logs/serve" in message
    assert "Gateway" not in message


def test_a_refused_configuration_and_a_silent_dashboard_are_told_apart(client: ServeClient, monkeypatch) -> None:
    monkeypatch.setattr(httpx, "request", lambda *_, **__: httpx.Response(400, text="extra fields not permitted"))
    with pytest.raises(DeployFailedError, match="400: extra fields"):
        client.deploy(DOCUMENT)

    def refuse(*_: object, **__: object) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx, "request", refuse)
    with pytest.raises(DeployFailedError, match="does not answer"):
        client.applications()


def test_deploy_gives_up_in_time(client: ServeClient, monkeypatch) -> None:
    monkeypatch.setattr(serve, "_DEPLOY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(httpx, "request", Dashboard({}, {}, {}))
    with pytest.raises(DeployFailedError, match="edupulse is NOT_STARTED"):
        client.deploy(DOCUMENT)


def test_an_application_that_failed_before_is_deployed_afresh(client: ServeClient, monkeypatch) -> None:
    failed = {"edupulse": {"status": "DEPLOY_FAILED"}}
    dashboard = Dashboard(failed, failed, {}, {"edupulse": {"status": "RUNNING"}})
    monkeypatch.setattr(httpx, "request", dashboard)
    client.deploy(DOCUMENT)
    assert [request[0] for request in dashboard.requests] == ["GET", "DELETE", "GET", "GET", "PUT", "GET"]


def test_readiness_is_a_request_that_passes_through_the_proxy(client: ServeClient, monkeypatch) -> None:
    outcomes = [False, False, True]
    monkeypatch.setattr(serve, "answers", lambda _: outcomes.pop(0))
    client.wait_until_reached("http://127.0.0.1:8000/health")
    assert outcomes == []


def test_an_api_that_is_not_reached_in_time_is_an_error(client: ServeClient, monkeypatch) -> None:
    monkeypatch.setattr(serve, "_REACH_TIMEOUT_S", 0.0)
    monkeypatch.setattr(serve, "answers", lambda _: False)
    with pytest.raises(DeployFailedError, match=r"not reached at http://127\.0\.0\.1:8000/health.*logs/serve"):
        client.wait_until_reached("http://127.0.0.1:8000/health")
