"""Every route and error path of the HTTP API, over a test client and no Ray."""

import json
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from deployments.ingress.api import create_api
from deployments.ingress.middleware import MAX_BODY_BYTES
from edupulse_ml.core.errors import ConflictError, DependencyDownError, TooManyRequestsError
from edupulse_ml.core.tables import MAX_TEXT_LENGTH
from tests.fakes.serving import REASON, TOKEN, FakeModels, LocalServing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def serving() -> LocalServing:
    return LocalServing()


@pytest.fixture
def client(serving: LocalServing) -> Iterator[TestClient]:
    with TestClient(create_api(serving.services()), headers=AUTH, raise_server_exceptions=False) as client:
        yield client


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:edupulse:problem:")
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def test_one_prediction(client: TestClient) -> None:
    response = client.post("/api/v1/predict", json={"student_id": "S3"})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["status"] == "scored"
    assert body["student_id"] == "S3"
    assert body["risk_score"] == pytest.approx(0.9)
    assert body["category"] == "critical"
    assert body["support_need"] == "support recommended first"
    assert body["reasons"] == [{"concept": REASON.concept, "text": REASON.text, "effect": REASON.effect}]
    assert body["protective_factors"][0]["effect"] < 0
    assert body["attention_weeks"]["label"] == "weeks the model weighted most; not reasons"
    assert len(body["attention_weeks"]["weeks"]) == 3
    assert body["coverage"] == {"attendance": 1.0, "course": 1.0, "discipline": 1.0, "weeks": 20}
    assert body["feature_week"] == "2022-02-28"
    assert body["model_version"] == "1"
    assert re.fullmatch(r"[0-9a-f-]{36}", body["prediction_id"])


def test_reasons_can_be_left_out(client: TestClient) -> None:
    body = client.post("/api/v1/predict", json={"student_id": "S3", "include_reasons": False}).json()
    assert body["reasons"] is None
    assert body["protective_factors"] is None


def test_as_of_takes_a_date_or_a_moment(client: TestClient) -> None:
    for as_of in ("2022-02-23", "2022-02-23T10:00:00-05:00"):
        body = client.post("/api/v1/predict", json={"student_id": "S3", "as_of": as_of}).json()
        assert body["feature_week"] == "2022-02-14"


def test_too_little_data_is_its_own_answer_and_never_a_number(client: TestClient) -> None:
    response = client.post("/api/v1/predict", json={"student_id": "NEW"})
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "insufficient_data"
    assert body["missing"] == ["2 instructional weeks of records, at least 4 are needed"]
    assert "risk_score" not in body


def test_an_unknown_student_is_404_and_is_not_echoed(client: TestClient) -> None:
    body = problem(client.post("/api/v1/predict", json={"student_id": "Jane-Doe-1999"}), 404)
    assert "Jane" not in json.dumps(body)


def test_a_batch_answers_in_order_and_one_problem_fails_nobody_else(client: TestClient) -> None:
    ids = ["S2", "nobody", "NEW", "bad\nid", "x" * 201, "", "S0", "S2"]
    response = client.post("/api/v1/predict/batch", json={"student_ids": ids})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [item["status"] for item in results] == [
        "scored", "error", "insufficient_data", "error", "error", "error", "scored", "scored",
    ]  # fmt: skip
    assert [item["student_id"] for item in results] == ["S2", "nobody", "NEW", None, None, None, "S0", "S2"]
    assert [item["problem"]["status"] for item in results if item["status"] == "error"] == [404, 422, 422, 422]
    assert results[0] == results[-1]


def test_a_batch_of_invalid_ids_needs_no_store(serving: LocalServing, client: TestClient) -> None:
    serving.district.take_postgresql_down()
    response = client.post("/api/v1/predict/batch", json={"student_ids": [""]})
    assert response.status_code == 200
    assert response.json()["results"][0]["problem"]["status"] == 422


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_has_1_to_100_students(client: TestClient, count: int) -> None:
    body = problem(client.post("/api/v1/predict/batch", json={"student_ids": ["S0"] * count}), 422)
    assert body["errors"][0]["location"] == "body.student_ids"


def test_a_batch_of_100_is_one_call(serving: LocalServing, client: TestClient) -> None:
    response = client.post("/api/v1/predict/batch", json={"student_ids": ["S0", "S1"] * 50})
    assert len(response.json()["results"]) == 100
    assert len(serving.pipeline.requests) == 1


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ({}, "body.student_id"),
        ({"student_id": ""}, "body.student_id"),
        ({"student_id": "x" * 201}, "body.student_id"),
        ({"student_id": "a\u0000b"}, "body.student_id"),
        ({"student_id": 7}, "body.student_id"),
        ({"student_id": "S0", "as_of": "yesterday"}, "body.as_of"),
        ({"student_id": "S0", "as_of": "2022-02-01T10:00:00"}, "body.as_of"),
        ({"student_id": "S0", "include_reasons": "perhaps"}, "body.include_reasons"),
        ({"student_id": "S0", "Jane-Doe": 1}, "body.(unknown field)"),
    ],
)
def test_bad_input_is_422_and_names_the_place_but_not_the_value(
    client: TestClient, body: dict[str, Any], location: str
) -> None:
    answer = problem(client.post("/api/v1/predict", json=body), 422)
    assert any(item["location"].startswith(location) for item in answer["errors"])
    for value in ("yesterday", "perhaps", "Jane", "xxx"):
        assert value not in json.dumps(answer)


def test_text_that_is_not_json_is_422_without_the_text(client: TestClient) -> None:
    response = client.post(
        "/api/v1/predict", content=b'{"student_id": Jane}', headers={"Content-Type": "application/json"}
    )
    assert "Jane" not in json.dumps(problem(response, 422))


@pytest.mark.parametrize("as_of", ["2022-03-10", "2022-03-09T16:00:00Z", "0001-01-01"])
def test_as_of_outside_what_can_be_known_is_422(client: TestClient, as_of: str) -> None:
    body = problem(client.post("/api/v1/predict", json={"student_id": "S0", "as_of": as_of}), 422)
    assert "as_of" in body["detail"]


def test_history_is_newest_first_and_bounded(serving: LocalServing, client: TestClient) -> None:
    for as_of in ("2022-02-09", "2022-02-16", "2022-02-23"):
        client.post("/api/v1/predict", json={"student_id": "S1", "as_of": as_of})
        serving.district.clock.advance(timedelta(minutes=1))
    body = client.get("/api/v1/predict/history/S1", params={"limit": 2}).json()
    assert [item["feature_week"] for item in body["predictions"]] == ["2022-02-14", "2022-02-07"]
    assert client.get("/api/v1/predict/history/S0").json() == {"student_id": "S0", "predictions": []}
    problem(client.get("/api/v1/predict/history/nobody"), 404)
    for limit in ("0", "501", "many"):
        problem(client.get("/api/v1/predict/history/S1", params={"limit": limit}), 422)


def test_the_current_model(client: TestClient) -> None:
    body = client.get("/api/v1/models/current").json()
    assert (body["model_version"], body["wanted"], body["swap_failure"]) == ("1", "champion", None)


def test_without_a_model_503_names_the_registry() -> None:
    serving = LocalServing(models=FakeModels(error=DependencyDownError("MLflow is down.", dependency="model registry")))
    client = TestClient(create_api(serving.services()), headers=AUTH)
    for response in (
        client.get("/api/v1/models/current"),
        client.post("/api/v1/predict", json={"student_id": "S0"}),
        client.get("/ready"),
    ):
        body = problem(response, 503)
        assert body["dependency"] == "model registry"
        assert "MLflow is down." in body["detail"]
        assert int(response.headers["retry-after"]) > 0
    assert client.get("/health").status_code == 200


def test_ready_names_every_server_that_is_missing(serving: LocalServing, client: TestClient) -> None:
    assert client.get("/ready").json() == {"status": "ready"}
    serving.district.cache.switch.down = True
    assert problem(client.get("/ready"), 503)["missing"] == ["redis"]
    serving.district.take_postgresql_down()
    assert problem(client.get("/ready"), 503)["missing"] == ["postgresql", "redis"]


def test_a_store_that_is_down_is_503(serving: LocalServing, client: TestClient) -> None:
    serving.district.take_postgresql_down()
    body = problem(client.post("/api/v1/predict", json={"student_id": "S0"}), 503)
    assert body["dependency"] == "postgresql"
    body = problem(client.post("/api/v1/predict/batch", json={"student_ids": ["S0"]}), 503)
    assert body["dependency"] == "postgresql"


def test_too_much_work_is_429_with_retry_after(serving: LocalServing, client: TestClient) -> None:
    serving.pipeline.error = TooManyRequestsError("Ask again in a second.", retry_after_s=1.2)
    response = client.post("/api/v1/predict", json={"student_id": "S0"})
    problem(response, 429)
    assert response.headers["retry-after"] == "2"


def test_an_unforeseen_error_is_500_without_internals(
    serving: LocalServing, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    serving.pipeline.error = RuntimeError("secret of student S0")
    body = problem(client.post("/api/v1/predict", json={"student_id": "S0"}), 500)
    assert "secret" not in json.dumps(body)
    assert "secret" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert body["request_id"] in caplog.text


def test_an_internal_error_of_ours_keeps_its_message(serving: LocalServing, client: TestClient) -> None:
    class OursError(ConflictError):
        http_status = 500
        title = "Internal error"

    serving.pipeline.error = OursError("inner workings")
    assert "inner" not in json.dumps(problem(client.post("/api/v1/predict", json={"student_id": "S0"}), 500))


ROUTES = [
    ("GET", "/metrics"),
    ("POST", "/api/v1/predict"),
    ("POST", "/api/v1/predict/batch"),
    ("GET", "/api/v1/predict/history/S0"),
    ("GET", "/api/v1/predict/changes/S0"),
    ("POST", "/api/v1/feedback"),
    ("GET", "/api/v1/models/current"),
    ("GET", "/api/v1/models"),
    ("GET", "/api/v1/models/{version}"),
    ("GET", "/api/v1/models/{version}/card"),
    ("POST", "/api/v1/training/start"),
    ("GET", "/api/v1/training/status/{job_id}"),
    ("POST", "/api/v1/training/stop/{job_id}"),
    ("GET", "/no/such/route"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic abc", f"Bearer {TOKEN}x", TOKEN, "Bearer", ""])
def test_every_other_route_asks_for_the_token(
    serving: LocalServing, method: str, path: str, header: str | None
) -> None:
    client = TestClient(create_api(serving.services()))
    response = client.request(method, path, headers={} if header is None else {"Authorization": header})
    problem(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert not serving.pipeline.requests


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json"])
def test_open_routes(serving: LocalServing, path: str) -> None:
    assert TestClient(create_api(serving.services())).get(path).status_code == 200


def test_no_route_is_missing_from_the_token_test(client: TestClient) -> None:
    documented = set(client.get("/openapi.json").json()["paths"])
    tested = {re.sub("(history|changes)/S0", r"\1/{student_id}", path) for _, path in ROUTES}
    assert documented - tested == {"/health", "/ready"}


def test_request_ids_are_kept_or_made(client: TestClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for unusable in ("x" * 65, "a b", "<script>"):
        made = client.get("/health", headers={"X-Request-ID": unusable}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f-]{36}", made)


def test_the_request_id_reaches_the_audit_trail(serving: LocalServing, client: TestClient) -> None:
    client.post("/api/v1/predict", json={"student_id": "S0"}, headers={"X-Request-ID": "visit-9"})
    (entry,) = serving.district.predictions.audit_log
    assert entry.request_id == "visit-9"
    assert entry.actor.startswith("token-")
    assert TOKEN not in entry.actor


def test_a_body_that_is_too_long_is_413(client: TestClient) -> None:
    problem(client.post("/api/v1/predict", content=b"x" * (MAX_BODY_BYTES + 1)), 413)

    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1000 + 2):
            yield b" " * 1000

    problem(client.post("/api/v1/predict", content=chunks(), headers={"Content-Type": "application/json"}), 413)


def test_wrong_paths_and_methods_are_problems(client: TestClient) -> None:
    problem(client.get("/no/such/route"), 404)
    response = client.get("/api/v1/predict")
    problem(response, 405)
    assert response.headers["allow"] == "POST"


def test_metrics_are_prometheus_text(serving: LocalServing) -> None:
    client = TestClient(create_api(serving.services(lambda: "ray_edupulse_answers_total 3.0\n")), headers=AUTH)
    response = client.get("/metrics")
    assert response.text == "ray_edupulse_answers_total 3.0\n"
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_the_docs_describe_answers_and_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    predict = document["paths"]["/api/v1/predict"]["post"]
    assert set(predict["responses"]) >= {"200", "401", "404", "422", "429", "503"}
    assert list(predict["responses"]["503"]["content"]) == ["application/problem+json"]
    assert list(predict["responses"]["422"]["content"]) == ["application/problem+json"]
    assert predict["security"]
    schemas = document["components"]["schemas"]
    assert schemas["PredictRequest"]["properties"]["student_id"]["examples"]
    assert "support" in schemas["PredictionOut"]["properties"]["category"]["description"]


@pytest.mark.parametrize(
    "as_of",
    [
        "2022-02-23T00:00:00",
        "2022-02-23 10:00",
        "20220223",
        "2022-2-3",
        "2022-W08-3",
        "2022-02-30",
        "2022-02-23T25:00:00Z",
        "1645574400",
        1645574400,
        0,
        1.5,
        True,
        "",
        "2022-02-23Z",
        "\u0662022-02-23",
    ],
)
def test_as_of_takes_nothing_that_could_mean_another_moment(client: TestClient, as_of: object) -> None:
    body = problem(client.post("/api/v1/predict", json={"student_id": "S0", "as_of": as_of}), 422)
    (error,) = body["errors"]
    assert error["location"] == "body.as_of"
    assert error["message"].startswith("Give a date (YYYY-MM-DD) or a moment with a time zone")


@pytest.mark.parametrize("as_of", ["2022-02-23T10:00Z", "2022-02-23 10:00:00.5+0100", "2022-02-23t10:00:00z", None])
def test_as_of_takes_every_moment_with_a_zone(client: TestClient, as_of: str | None) -> None:
    assert client.post("/api/v1/predict", json={"student_id": "S0", "as_of": as_of}).status_code == 200


def test_every_id_that_can_be_imported_can_be_asked_about(client: TestClient) -> None:
    longest = "\U0001f600" * MAX_TEXT_LENGTH
    problem(client.post("/api/v1/predict", json={"student_id": longest}), 404)
    problem(client.post("/api/v1/predict", json={"student_id": longest + "x"}), 422)
    problem(client.get(f"/api/v1/predict/history/{quote(longest)}"), 404)
    escaped = json.dumps({"student_ids": [longest] * 100}).encode()
    assert client.post(
        "/api/v1/predict/batch", content=escaped, headers={"Content-Type": "application/json"}
    ).is_success
