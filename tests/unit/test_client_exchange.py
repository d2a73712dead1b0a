"""When the client asks again, where it gets its token, and what it says when nobody answers."""

from pathlib import Path

import httpx
import pytest

from edupulse_ml.client import AsyncEduPulse, EduPulse, RetryPolicy, ServiceError, ServiceUnreachableError
from edupulse_ml.config.address import api_url_path
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.security.tokens import TokenMissingError, write_token_file

MODEL = {
    "model_version": "3",
    "wanted": "champion",
    "policy_version": "p",
    "contract_fingerprint": "f",
    "loaded_at": "2025-03-03T12:00:00Z",
    "swap_failure": None,
}


class Script:
    """Answers with the scripted responses or errors, one after the other, and notes requests and pauses."""

    def __init__(self, *steps: httpx.Response | Exception) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def client(self, *, token: str | None = "t", retry: RetryPolicy | None = None) -> EduPulse:
        transport = httpx.MockTransport(self)
        return EduPulse("http://test", token=token, transport=transport, retry=retry, sleep=self.pauses.append)


def busy(retry_after: str | None = None, status: int = 503) -> httpx.Response:
    return httpx.Response(status, headers={} if retry_after is None else {"Retry-After": retry_after})


def ok() -> httpx.Response:
    return httpx.Response(200, json=MODEL)


def test_a_refused_connection_is_tried_again_with_growing_pauses() -> None:
    script = Script(httpx.ConnectError("no"), httpx.ConnectError("no"), httpx.ConnectTimeout("no"), ok())
    with script.client() as client:
        assert client.current_model().model_version == "3"
    assert [0.1 * 2**i <= pause <= 0.2 * 2**i for i, pause in enumerate(script.pauses)] == [True] * 3


def test_pauses_have_a_longest_one() -> None:
    policy = RetryPolicy(attempts=9, first_pause_s=1, longest_pause_s=4)
    assert max(policy.pauses()) <= 4
    assert len(list(policy.pauses())) == 8


def test_a_service_that_never_answers_is_named() -> None:
    script = Script(*[httpx.ConnectError("no")] * 4)
    with script.client() as client, pytest.raises(ServiceUnreachableError, match="http://test"):
        client.current_model()
    assert len(script.requests) == 4


def test_a_request_that_may_have_arrived_is_not_sent_twice() -> None:
    script = Script(httpx.ReadTimeout("late"))
    with script.client() as client, pytest.raises(ServiceUnreachableError, match="ReadTimeout"):
        client.predict("S1")
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_out(status: int) -> None:
    script = Script(busy("2", status), ok())
    with script.client() as client:
        client.current_model()
    assert script.pauses == [2.0]


def test_a_retry_after_beyond_the_policy_is_not_waited_for() -> None:
    script = Script(busy("3600"))
    with script.client() as client, pytest.raises(DependencyDownError):
        client.current_model()
    assert script.pauses == []


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_other_answers_are_final(status: int) -> None:
    script = Script(httpx.Response(status))
    with script.client() as client, pytest.raises(Exception, match=f"status {status}"):
        client.current_model()
    assert len(script.requests) == 1


def test_an_answer_of_another_service_is_an_error_and_not_a_crash() -> None:
    page = httpx.Response(502, text="<html>", headers={"content-type": "application/problem+json"})
    with Script(page).client() as client, pytest.raises(ServiceError, match="is this EduPulse's address"):
        client.current_model()


def test_the_token_comes_from_the_argument_the_environment_or_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(token: str | None) -> str:
        script = Script(ok())
        with script.client(token=token) as client:
            client.current_model()
        return script.requests[0].headers["authorization"]

    monkeypatch.delenv("EDUPULSE_TOKEN", raising=False)
    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path / "home"))
    with pytest.raises(TokenMissingError, match="make up"):
        sent(None)
    write_token_file(tmp_path / "home", "from-file")
    assert sent(None) == "Bearer from-file"
    monkeypatch.setenv("EDUPULSE_TOKEN", "from-environment")
    assert sent(None) == "Bearer from-environment"
    assert sent("given") == "Bearer given"


def test_the_address_is_the_argument_the_setting_the_home_folders_or_port_8000(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(base_url: str | None) -> str:
        script = Script(ok())
        with EduPulse(base_url, token="t", transport=httpx.MockTransport(script)) as client:
            client.current_model()
        return str(script.requests[0].url)

    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path))
    monkeypatch.delenv("EDUPULSE_API_URL", raising=False)
    monkeypatch.setenv("EDUPULSE_HTTP_PORT", "0")
    assert asked(None) == "http://127.0.0.1:8000/api/v1/models/current"
    api_url_path(tmp_path).write_text("http://127.0.0.1:8123\n")
    assert asked(None) == "http://127.0.0.1:8123/api/v1/models/current"
    monkeypatch.setenv("EDUPULSE_API_URL", "https://district.example")
    assert asked(None) == "https://district.example/api/v1/models/current"
    assert asked("https://school.example/edupulse/") == "https://school.example/edupulse/api/v1/models/current"


@pytest.mark.parametrize(
    ("base_url", "direct"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.9.9.9", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("https://school.example", False),
        ("http://10.0.0.1", False),
    ],
)
def test_a_proxy_is_never_asked_for_this_machine(base_url: str, direct: bool) -> None:
    with EduPulse(base_url, token="t") as client:
        assert client._http.trust_env is not direct
    assert AsyncEduPulse(base_url, token="t")._http.trust_env is not direct


def test_a_proxy_that_gave_up_waiting_is_no_fault_of_the_request() -> None:
    late = httpx.Response(408, text="Request timed out after 10s.")
    script = Script(late)
    with script.client() as client, pytest.raises(ServiceError, match="did not answer in time"):
        client.predict("S1")
    assert len(script.requests) == 1, "it may have been audited"
