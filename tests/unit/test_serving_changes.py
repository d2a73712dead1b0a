"""What changed since the last prediction, over HTTP and without servers."""

import asyncio
import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from deployments.change_failures import no_change
from deployments.change_messages import AskedModel, ChangeFailed, ChangeRefused, FetchedChange, ScoredChange
from deployments.ingress.api import create_api
from deployments.messages import HopFailure
from deployments.model_slot import LoadedModel, ModelFiles
from deployments.past_models import MOST_UNDER_WAY, PastModels
from edupulse_ml.core.errors import (
    ContractMismatchError,
    DependencyDownError,
    EduPulseError,
    InvalidInputError,
    NotEnoughDataError,
    NotFoundError,
)
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.core.sequences import FeatureBlock, concatenate_batches, last_windows
from tests.fakes.predictions import prediction
from tests.fakes.serving import CONTRACT, NOW, RATE, TOKEN, FakeModels, LocalServing, student_block

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

WEEK_AGO = NOW - timedelta(days=7)
PATH = "/api/v1/predict/changes/S1"


def rising(last: float) -> FeatureBlock:
    """0.3 in every week but the last one."""
    block = student_block(0.3)
    block.values[0, -1, RATE] = last
    return block


def stored(number: int, risk: float, as_of: datetime, *, model: str = "1") -> Prediction:
    return prediction(
        number,
        student="S1",
        created_at=as_of,
        as_of=as_of,
        risk_score=risk,
        model_version=ModelVersion(model),
    )


@pytest.fixture
def serving() -> LocalServing:
    """Student S1 a week ago (0.3) and now (0.5), of which a correction made 0.05."""
    serving = LocalServing()
    district = serving.district
    district.past.import_at = lambda moment: 1 if moment < NOW else 2
    district.past.blocks = {(1, True): student_block(0.3), (2, True): rising(0.5), (2, False): rising(0.45)}
    district.predictions.predictions += [stored(1, 0.3, WEEK_AGO), stored(2, 0.5, NOW)]
    return serving


@pytest.fixture
def client(serving: LocalServing) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(create_api(serving.services()), headers=headers, raise_server_exceptions=False) as client:
        yield client


def problem(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()["detail"]


def test_parts_sum_to_the_move_and_read_like_sentences(client: TestClient, serving: LocalServing) -> None:
    response = client.get(PATH)
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["student_id"], body["before"]["risk_score"], body["after"]["risk_score"]) == ("S1", 0.3, 0.5)
    assert body["change"]["probability"] == pytest.approx(0.2, abs=1e-6)
    shift = {part["part"]: pytest.approx(part["probability"], abs=1e-6) for part in body["parts"]}
    assert shift == {"new_records": 0.15, "left_window": 0, "corrected_records": 0.05, "new_model": 0}
    assert sum(part["logit"] for part in body["parts"]) == body["change"]["logit"]
    texts = {part["part"]: part["text"] for part in body["parts"]}
    assert texts["new_records"] == "What was recorded of 1 school week since then raises the score."
    assert "corrected, or came late, which raises the score." in texts["corrected_records"]
    assert texts["new_model"] == "The model is the same, or says the same."
    assert [item["concept"] for item in body["parts"][0]["concepts"]] == ["recent absences"]
    (look,) = serving.district.predictions.audit_log
    assert (look.action, look.outcome, look.student_id) == ("changes", "read", "S1")


def test_a_new_model_is_a_part_and_the_old_one_is_loaded_beside_the_live_one(
    client: TestClient, serving: LocalServing
) -> None:
    serving.district.predictions.predictions[0] = stored(1, 0.3, WEEK_AGO, model="2")
    loads = serving.models.loads
    response = client.get(PATH)
    assert response.json()["parts"][3]["text"] == "The model is the same, or says the same."
    assert client.get(PATH).status_code == 200
    assert serving.models.loads == loads + 1
    live = serving.slot.live
    assert live is not None
    assert live.version == "1"


def test_since_names_the_prediction_to_compare_with(client: TestClient, serving: LocalServing) -> None:
    between = stored(3, 0.3, NOW - timedelta(days=1))
    serving.district.predictions.predictions.append(between)
    first = serving.district.predictions.predictions[0].prediction_id
    assert client.get(PATH).json()["before"]["prediction_id"] == between.prediction_id
    assert client.get(PATH, params={"since": first}).json()["before"]["prediction_id"] == first


@pytest.mark.parametrize(
    ("path", "since", "status", "said"),
    [
        ("/api/v1/predict/changes/nobody", None, 404, "no such student"),
        ("/api/v1/predict/changes/S2", None, 409, "not been scored"),
        (PATH, "00000000-0000-0000-0000-000000000009", 404, "no prediction of the id"),
        (PATH, "00000000-0000-0000-0000-000000000002", 409, "newest prediction"),
        (PATH, "yesterday", 422, "not valid"),
    ],
)
def test_what_cannot_be_compared_is_a_problem(
    client: TestClient, path: str, since: str | None, status: int, said: str
) -> None:
    assert said in problem(client.get(path, params={"since": since} if since else {}), status)


def test_one_prediction_has_nothing_to_be_compared_with(client: TestClient, serving: LocalServing) -> None:
    del serving.district.predictions.predictions[0]
    assert "one prediction only" in problem(client.get(PATH), 409)


def test_a_newest_prediction_about_an_earlier_moment_is_not_compared(client: TestClient, serving: LocalServing) -> None:
    past = prediction(5, student="S1", created_at=NOW + timedelta(hours=1), as_of=WEEK_AGO - timedelta(days=30))
    serving.district.predictions.predictions.append(past)
    assert "earlier moment" in problem(client.get(PATH), 409)


def test_a_prediction_that_comes_out_otherwise_is_not_split(client: TestClient, serving: LocalServing) -> None:
    serving.district.predictions.predictions[1] = stored(2, 0.51, NOW)
    assert "edupulse replay" in problem(client.get(PATH), 409)


@pytest.mark.parametrize(("version", "said"), [("9", "no longer in the registry"), ("torn", "could not be loaded")])
def test_a_model_that_cannot_be_loaded_takes_only_this_answer_away(
    client: TestClient, serving: LocalServing, version: str, said: str
) -> None:
    serving.district.predictions.predictions[0] = stored(1, 0.3, WEEK_AGO, model=version)
    assert said in problem(client.get(PATH), 409)
    assert client.post("/api/v1/predict", json={"student_id": "S1"}).status_code == 200


def test_a_missing_server_is_named_and_nothing_is_told_unaudited(client: TestClient, serving: LocalServing) -> None:
    serving.district.past.switch.down = True
    assert client.get(PATH).json()["dependency"] == "postgresql"
    serving.district.take_postgresql_down()
    response = client.get(PATH)
    assert response.status_code == 503
    assert "parts" not in response.json()


def test_only_the_last_few_models_are_kept() -> None:
    models = FakeModels()
    past = PastModels(models, held=1)

    async def work(versions: Sequence[str]) -> None:
        for version in versions:
            found = await past.contracts_of([ModelVersion(version)], live=None)
            assert found == (CONTRACT,)

    asyncio.run(work("1122121"))
    assert models.loads == 5


@pytest.mark.parametrize("fault", [InvalidInputError("The artefact's kind gru9 is wrong."), KeyError("Jane Doe")])
@pytest.mark.parametrize("hop", ["model", "fetcher"])
def test_a_fault_of_ours_is_no_conflict_and_tells_nothing_of_the_inside(
    client: TestClient, serving: LocalServing, monkeypatch: pytest.MonkeyPatch, caplog, hop: str, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise fault

    if hop == "model":
        monkeypatch.setattr("deployments.past_models.explain_change", fail)
    else:
        monkeypatch.setattr("deployments.change_fetching.change_windows", fail)
    with caplog.at_level("ERROR", logger="ray.serve"):
        response = client.get(PATH)
    assert "request id" in problem(response, 500)
    assert response.json()["title"] == "Internal error"
    assert not any(word in response.text for word in ("gru9", "Jane"))
    assert type(fault).__name__ in caplog.text
    assert "Jane" not in caplog.text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotEnoughDataError("A week is gone."), ChangeRefused),
        (ContractMismatchError("Features differ in version."), ChangeRefused),
        (NotFoundError("No such student."), ChangeRefused),
        (DependencyDownError("PostgreSQL is down.", dependency="postgresql"), HopFailure),
        (EduPulseError("A statement was refused."), ChangeFailed),
    ],
)
def test_what_cannot_be_known_is_refused_and_the_rest_is_a_fault(error: Exception, kind: type[object]) -> None:
    assert isinstance(no_change(error), kind)


def test_few_are_explained_at_once_and_the_others_are_told_to_ask_again(
    client: TestClient, serving: LocalServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    loaded = FakeModels.load

    def slow(models: FakeModels, files: ModelFiles) -> LoadedModel:
        let_go.wait(10)
        return loaded(models, files)

    async def scenario() -> tuple[list[object], object]:
        past = PastModels(FakeModels())
        first = [asyncio.create_task(past.contracts_of([ModelVersion("1")], live=None)) for _ in range(MOST_UNDER_WAY)]
        await asyncio.sleep(0.05)
        beyond = [await past.contracts_of([ModelVersion("1")], live=None) for _ in range(3)]
        first[-1].cancel()
        await asyncio.sleep(0)
        let_go.set()
        answers = await asyncio.gather(*first, return_exceptions=True)
        assert answers[:-1] == [(CONTRACT,)] * (MOST_UNDER_WAY - 1)
        return beyond, await past.contracts_of([ModelVersion("1")], live=None)

    with monkeypatch.context() as patch:
        patch.setattr(FakeModels, "load", slow)
        beyond, after = asyncio.run(scenario())
    assert {type(answer) for answer in beyond} == {HopFailure}
    assert after == (CONTRACT,)

    async def busy(*_: object, **__: object) -> object:
        return beyond[0]

    monkeypatch.setattr(PastModels, "contracts_of", busy)
    response = client.get(PATH)
    assert "ask again" in problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_a_contract_of_another_release_is_refused_with_its_reason() -> None:
    models = FakeModels()
    past = PastModels(models)
    asked = AskedModel(ModelVersion("1"), CONTRACT)
    window = last_windows(student_block(0.3), window_weeks=20)
    fetched = FetchedChange(asked, asked, concatenate_batches([window] * 5), window)
    assert isinstance(asyncio.run(past.explain(fetched, live=None)), ScoredChange)
    gone = FetchedChange(AskedModel(ModelVersion("9"), CONTRACT), asked, fetched.windows, window)
    assert isinstance(asyncio.run(past.explain(gone, live=None)), ChangeRefused)
