"""`POST /api/v1/feedback` over a test client: what is taken, what is refused and where, and that nothing is repeated."""

import asyncio
import contextlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.feedback import FeedbackService
from deployments.ingress.api import create_api
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.feedback import FeedbackBusyError, FeedbackStatus
from tests.fakes.serving import TOKEN, LocalServing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

PATH = "/api/v1/feedback"
LEFT = {
    "kind": "outcome",
    "key": "o1",
    "student_id": "S1",
    "given_by": "registrar",
    "outcome": "left",
    "happened_on": "2022-02-01",
    "label_known_at": "2022-02-03T09:00:00-05:00",
}
HELPED = {
    "kind": "intervention",
    "key": "i1",
    "student_id": "S1",
    "given_by": "ms-r",
    "intervention": "tutoring",
    "started_on": "2022-01-10",
}


@pytest.fixture
def serving() -> LocalServing:
    return LocalServing()


@pytest.fixture
def client(serving: LocalServing) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-ID": "r1"}
    with TestClient(create_api(serving.services()), headers=headers, raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, *statements: Any) -> Any:
    return client.post(PATH, json={"statements": list(statements)})


def places(response: Any, status: int) -> list[str]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return [error["location"] for error in response.json()["errors"]]


def flag(client: TestClient, **changes: Any) -> dict[str, Any]:
    prediction = client.post("/api/v1/predict", json={"student_id": "S1"}).json()["prediction_id"]
    said = {"kind": "flag", "key": "f1", "student_id": "S1", "given_by": "ms-r", "verdict": "wrong"}
    return said | {"prediction_id": prediction} | changes


def test_all_kinds_are_taken_and_audited(serving: LocalServing, client: TestClient) -> None:
    response = post(client, LEFT, HELPED, flag(client))
    assert response.status_code == 201, response.text
    assert response.json() == {"results": [{"key": key, "status": "created"} for key in ("o1", "i1", "f1")]}
    outcome, support, opinion = serving.district.feedback.versions
    assert (outcome["value"], outcome["starts_on"]) == ("left", "2022-02-01")
    assert outcome["recorded_at"] == "2022-02-03T14:00:00+00:00"
    assert (support["value"], support["starts_on"], support["ends_on"]) == ("tutoring", "2022-01-10", None)
    assert opinion["value"] == "wrong"
    actor = serving.services().actor
    assert [entry[:2] for entry in serving.district.feedback.audited] == [(actor, "r1")] * 3


def test_sent_again_it_changes_nothing_and_corrected_it_supersedes(serving: LocalServing, client: TestClient) -> None:
    post(client, LEFT)
    again = post(client, LEFT)
    assert again.status_code == 200
    assert again.json()["results"] == [{"key": "o1", "status": "unchanged"}]
    later = LEFT | {"outcome": "transferred", "label_known_at": "2022-02-20T09:00:00Z"}
    corrected = post(client, later, HELPED)
    assert corrected.status_code == 201
    assert [result["status"] for result in corrected.json()["results"]] == ["corrected", "created"]
    assert [version["value"] for version in serving.district.feedback.versions] == ["left", "transferred", "tutoring"]


def test_an_unknown_student_or_prediction_is_404_and_nothing_is_stored(
    serving: LocalServing, client: TestClient
) -> None:
    response = post(client, LEFT, HELPED | {"student_id": "Jane-Doe"}, flag(client, student_id="S2"))
    assert places(response, 404) == [
        "body.statements.1.intervention.student_id",
        "body.statements.2.flag.prediction_id",
    ]
    assert "Jane" not in response.text
    assert not serving.district.feedback.versions


def test_a_key_that_stands_for_something_else_is_a_conflict(client: TestClient) -> None:
    post(client, LEFT)
    assert places(post(client, LEFT | {"student_id": "S2"}), 409) == ["body.statements.0.outcome.key"]
    assert places(post(client, LEFT, LEFT), 422) == ["body.statements.1.outcome.key"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"kind": "Jane Doe"}, ""),
        ({"outcome": "Jane Doe"}, ".outcome.outcome"),
        ({"happened_on": 19_000}, ".outcome.happened_on"),
        ({"happened_on": "2022-02-30"}, ".outcome.happened_on"),
        ({"happened_on": "2999-01-01"}, ".outcome.happened_on"),
        ({"label_known_at": "2022-02-03T09:00:00"}, ".outcome.label_known_at"),
        ({"label_known_at": "2999-02-03T09:00:00Z"}, ".outcome.recorded_at"),
        ({"key": ""}, ".outcome.key"),
        ({"given_by": "x" * 201}, ".outcome.given_by"),
        ({"student_id": "a\nb"}, ".outcome.student_id"),
        ({"remark": "Jane Doe was seen"}, ".outcome.(unknown field)"),
        ({"kind": "intervention", "started_on": "2022-02-01"}, ".intervention.intervention"),
    ],
)
def test_what_is_not_valid_names_its_place_and_never_the_value(
    client: TestClient, change: dict[str, Any], place: str
) -> None:
    response = post(client, LEFT | change)
    assert f"body.statements.0{place}" in places(response, 422)
    assert "Jane" not in response.text


def test_support_does_not_end_before_it_starts(client: TestClient) -> None:
    assert places(post(client, HELPED | {"ended_on": "2022-01-09"}), 422) == ["body.statements.0.intervention"]


@pytest.mark.parametrize("count", [0, 101])
def test_a_request_has_1_to_100_statements(client: TestClient, count: int) -> None:
    assert places(post(client, *[LEFT | {"key": str(n)} for n in range(count)]), 422) == ["body.statements"]


def test_100_statements_of_the_longest_texts_fit(client: TestClient) -> None:
    longest = {"given_by": "g" * 200, "student_id": "S1"}
    assert post(client, *[LEFT | longest | {"key": f"{n:0200}"} for n in range(100)]).status_code == 201


def test_a_store_that_is_down_is_named(serving: LocalServing, client: TestClient) -> None:
    serving.district.take_postgresql_down()
    response = post(client, LEFT)
    assert response.status_code == 503
    assert response.json()["dependency"] == "postgresql"


def test_one_request_is_written_at_a_time_and_the_others_wait_a_bounded_time() -> None:
    writing, most = 0, 0

    class Store:
        async def give(self, *_: object, **__: object) -> list[FeedbackStatus]:
            nonlocal writing, most
            writing += 1
            most = max(most, writing)
            await asyncio.sleep(0.15)
            writing -= 1
            return ["created"]

    async def scenario() -> list[object]:
        service = FeedbackService(Store(), answer_timeout_s=0.8)
        given = (service.give([], actor="token-1", request_id="r") for _ in range(8))
        return await asyncio.gather(*given, return_exceptions=True)

    answers = asyncio.run(scenario())
    refused = [answer for answer in answers if isinstance(answer, FeedbackBusyError)]
    assert most == 1
    assert 1 <= len(answers) - len(refused) <= 4
    assert {(error.http_status, error.dependency) for error in refused} == {(503, "postgresql")}


def test_a_writer_who_was_given_up_keeps_its_turn_until_its_connection_is_free() -> None:
    begun = 0

    class Store:
        async def give(self, *_: object, **__: object) -> list[FeedbackStatus]:
            nonlocal begun
            begun += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            await asyncio.sleep(30)
            return []

    async def scenario() -> list[object]:
        service = FeedbackService(Store(), answer_timeout_s=0.1)
        given = (service.give([], actor="token-1", request_id="r") for _ in range(4))
        return await asyncio.gather(*given, service.give([], actor="token-1", request_id="r"), return_exceptions=True)

    answers = asyncio.run(scenario())
    assert all(isinstance(answer, DependencyDownError) for answer in answers)
    assert begun == 1


def test_who_must_wait_for_another_writer_is_told_when_to_ask_again(serving: LocalServing, client: TestClient) -> None:
    async def busy(*_: object, **__: object) -> None:
        raise FeedbackBusyError("Another writer of feedback is at work.", dependency="postgresql")

    serving.district.feedback.give = busy
    response = post(client, LEFT)
    assert (response.status_code, response.json()["detail"]) == (503, "Another writer of feedback is at work.")
    assert int(response.headers["retry-after"]) > 0


def test_without_a_token_nothing_is_taken(serving: LocalServing, client: TestClient) -> None:
    response = client.post(PATH, json={"statements": [LEFT]}, headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401
    assert not serving.district.feedback.versions


def test_the_description_shows_the_three_kinds(client: TestClient) -> None:
    described = json.dumps(client.get("/openapi.json").json()["paths"][PATH])
    assert "Everything was known already" in described
