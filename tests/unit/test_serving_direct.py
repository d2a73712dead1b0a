"""The straight path of predictions: the framework's answers, without the framework."""

import asyncio
import json
import warnings
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.ingress.api import create_api
from deployments.ingress.direct import DirectPredictions
from deployments.ingress.prediction_answers import PredictionAnswers
from tests.fakes.serving import TOKEN, LocalServing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

ONE, MANY = "/api/v1/predict", "/api/v1/predict/batch"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ONE, '{"student_id": "S1"}'),
        (ONE, '{"student_id": "S1", "as_of": "2022-03-02", "include_reasons": false}'),
        (ONE, '{"student_id": "NEW", "as_of": "2022-03-08T08:00:00+01:00"}'),
        (ONE, '{"student_id": "nobody"}'),
        (ONE, '{"student_id": 7}'),
        (ONE, '{"student_id": "S1", "as_of": 7, "colour": "red"}'),
        (ONE, '{"student_id": "S1", "student_id": "S2"}'),
        (ONE, '{"student_id": "S1", "include_reasons": "yes"}'),
        (ONE, '{"student_id":'),
        (ONE, ""),
        (ONE, "[]"),
        (MANY, '{"student_ids": ["S1", "nobody", "", "S1"], "include_reasons": true}'),
        (MANY, '{"student_ids": []}'),
    ],
)
def test_it_answers_as_the_framework_does(path: str, body: str) -> None:
    def asked(content_type: str) -> tuple[int, object, str | None]:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type, "X-Request-ID": "r1"}
        with TestClient(create_api(LocalServing().services())) as client:
            response = client.post(path, content=body, headers=headers)
        return response.status_code, response.json(), response.headers.get("content-type")

    assert asked("application/json") == asked("application/json; charset=utf-8")


class Framework:
    """Notes the bodies that reach it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])


def exchange(body: bytes, *, path: str = ONE, content_type: bytes = b"application/json") -> tuple[Framework, list[Any]]:
    framework, sent = Framework(), []
    parts: list[Message] = [
        {"type": "http.request", "body": body[:5], "more_body": True},
        {"type": "http.request", "body": body[5:]},
    ]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"content-type", content_type)],
        "edupulse.request_id": "r1",
    }

    async def receive() -> Message:
        return parts.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    app = DirectPredictions(framework, answers=PredictionAnswers(LocalServing().services()))
    asyncio.run(app(scope, receive, send))
    return framework, sent


@pytest.mark.parametrize(("path", "body"), [(ONE, {"student_id": "S1"}), (MANY, {"student_ids": ["S1"]})])
def test_a_valid_prediction_does_not_enter_the_framework(path: str, body: object) -> None:
    framework, (start, content) = exchange(json.dumps(body).encode(), path=path)
    assert framework.bodies == []
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == str(len(content["body"])).encode()


def test_what_is_not_valid_reaches_the_framework_whole() -> None:
    framework, sent = exchange(b'{"student_id": 7}')
    assert framework.bodies == [b'{"student_id": 7}']
    assert sent == []


@pytest.mark.parametrize(("path", "kind"), [(ONE, b"text/plain"), ("/api/v1/model", b"application/json")])
def test_other_requests_are_not_read(path: str, kind: bytes) -> None:
    framework, _ = exchange(b'{"student_id": "S1"}', path=path, content_type=kind)
    assert framework.bodies == [b'{"stu']
