"""The clients against the real API: what one says the other understands."""

import asyncio
import inspect
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
import pytest

from deployments.ingress.api import create_api
from edupulse_ml.client import (
    AsyncEduPulse,
    EduPulse,
    FailedStudent,
    FlagFeedback,
    InterventionFeedback,
    OutcomeFeedback,
    RetryPolicy,
    ScoredStudent,
    TrainingOrder,
)
from edupulse_ml.core.errors import (
    ConflictError,
    DependencyDownError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.predictions import InsufficientData
from tests.fakes.predictions import prediction
from tests.fakes.serving import NOW, REASON, TOKEN, LocalServing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

Ask = Callable[[str, Any], Any]


class Clients:
    """Calls a method on the waiting or the awaiting client, over one service."""

    def __init__(self, serving: LocalServing, *, awaiting: bool) -> None:
        self.serving = serving
        self.awaiting = awaiting
        self.pauses: list[float] = []

    def call(self, method: str, *args: Any, token: str = TOKEN, **kwargs: Any) -> Any:
        app = create_api(self.serving.services())
        retry = RetryPolicy(attempts=2)
        if not self.awaiting:
            transport = TestClient(app, raise_server_exceptions=False)._transport
            with EduPulse("http://test", token=token, transport=transport, retry=retry, sleep=self.pauses.append) as c:
                return getattr(c, method)(*args, **kwargs)

        async def ask() -> Any:
            async def sleep(seconds: float) -> None:
                self.pauses.append(seconds)

            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with AsyncEduPulse("http://test", token=token, transport=transport, retry=retry, sleep=sleep) as c:
                return await getattr(c, method)(*args, **kwargs)

        return asyncio.run(ask())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def clients(request: pytest.FixtureRequest) -> Clients:
    return Clients(LocalServing(), awaiting=request.param)


def test_both_clients_offer_the_same() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }

    assert public(EduPulse) == public(AsyncEduPulse)


def test_predict(clients: Clients) -> None:
    answer = clients.call("predict", "S3")
    assert isinstance(answer, ScoredStudent)
    assert (answer.student_id, answer.category, answer.risk_score) == ("S3", "critical", pytest.approx(0.9))
    assert answer.reasons == (REASON,)
    assert answer.feature_week == date(2022, 2, 28)
    assert answer.coverage.weeks == 20
    assert answer.attention_weeks[0].week == date(2022, 2, 28)


def test_predict_as_of_a_date_without_reasons(clients: Clients) -> None:
    answer = clients.call("predict", "S3", as_of=date(2022, 2, 23), include_reasons=False)
    assert answer.feature_week == date(2022, 2, 14)
    assert answer.reasons is None


def test_too_little_data_is_an_answer(clients: Clients) -> None:
    answer = clients.call("predict", "NEW")
    assert isinstance(answer, InsufficientData)
    assert "2 instructional weeks" in answer.missing[0]


def test_predict_many_takes_any_number_and_keeps_the_order(clients: Clients) -> None:
    ids = ["S0", "nobody", "NEW", "S1"] * 60
    answers = clients.call("predict_many", ids)
    assert [answer.student_id for answer in answers] == ids
    assert [answer.status for answer in answers[:4]] == ["scored", "error", "insufficient_data", "scored"]
    assert isinstance(answers[1], FailedStudent)
    assert answers[1].http_status == 404
    assert [len(request.student_ids) for request, _ in clients.serving.pipeline.requests] == [4, 2, 2]
    assert clients.call("predict_many", []) == []


def test_predict_frame_keeps_rows_index_and_columns(clients: Clients) -> None:
    frame = pd.DataFrame({"grade": [9, 10, 11], "id": ["S2", "NEW", "nobody"]}, index=[7, 3, 5])
    before = frame.copy()
    answer = clients.call("predict_frame", frame, id_column="id")
    pd.testing.assert_frame_equal(frame, before)
    assert list(answer.index) == [7, 3, 5]
    assert list(answer["grade"]) == [9, 10, 11]
    assert list(answer["status"]) == ["scored", "insufficient_data", "error"]
    assert answer["risk_score"].round(3).tolist()[0] == 0.5
    assert answer["risk_score"].isna().tolist() == [False, True, True]
    assert answer["weeks"].tolist()[:2] == [20, 2]
    assert answer.loc[7, "reasons"] == REASON.text
    assert "at least 4" in answer.loc[3, "problem"]
    assert answer["feature_week"].dtype.kind == "M"
    empty = clients.call("predict_frame", frame.iloc[:0], id_column="id")
    assert len(empty) == 0
    assert list(empty.columns) == list(answer.columns)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"student": ["S0"]}),
        pd.DataFrame({"student_id": ["S0", None]}),
        pd.DataFrame({"student_id": ["S0"], "category": ["x"]}),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(clients: Clients, frame: pd.DataFrame) -> None:
    with pytest.raises(InvalidInputError):
        clients.call("predict_frame", frame)
    assert not clients.serving.pipeline.requests


def test_history_and_model(clients: Clients) -> None:
    made = clients.call("predict", "S1")
    (stored,) = clients.call("history", "S1")
    assert stored == made
    assert clients.call("current_model").model_version == "1"


def test_changes(clients: Clients) -> None:
    district = clients.serving.district
    for number, days in ((1, 7), (2, 0)):
        moment = NOW - timedelta(days=days)
        district.predictions.predictions.append(
            prediction(
                number, student="S1", created_at=moment, as_of=moment, risk_score=0.3, model_version=ModelVersion("1")
            )
        )
    found = clients.call("changes", "S1")
    assert (found.student_id, found.before.risk_score, found.after.risk_score) == ("S1", 0.3, 0.3)
    assert (found.before.as_of, found.logit, found.probability) == (NOW - timedelta(days=7), 0.0, 0.0)
    assert [part.part for part in found.parts] == ["new_records", "left_window", "corrected_records", "new_model"]
    assert clients.call("changes", "S1", since=found.before.prediction_id) == found
    with pytest.raises(ConflictError, match="newest prediction"):
        clients.call("changes", "S1", since=found.after.prediction_id)


def test_an_id_with_a_slash_or_a_question_mark_is_one_id(clients: Clients) -> None:
    with pytest.raises(NotFoundError, match="no such student"):
        clients.call("history", "a/b?c")


def test_problems_are_exceptions(clients: Clients) -> None:
    with pytest.raises(NotFoundError, match="no student"):
        clients.call("predict", "nobody")
    with pytest.raises(InvalidInputError, match=r"future.*\(request "):
        clients.call("predict", "S0", as_of=date(2999, 1, 1))
    with pytest.raises(InvalidInputError, match=r"body\.student_id"):
        clients.call("predict", "")
    with pytest.raises(UnauthorizedError):
        clients.call("predict", "S0", token="wrong")
    assert clients.pauses == []


def test_a_busy_service_is_asked_again_after_the_time_it_names(clients: Clients) -> None:
    clients.serving.pipeline.error = TooManyRequestsError("busy", retry_after_s=3.0)
    with pytest.raises(TooManyRequestsError) as error:
        clients.call("predict", "S0")
    assert error.value.retry_after_s == 3.0
    assert clients.pauses == [3.0]
    assert len(clients.serving.pipeline.requests) == 2


def test_a_missing_server_is_named(clients: Clients) -> None:
    clients.serving.district.take_postgresql_down()
    with pytest.raises(DependencyDownError) as error:
        clients.call("predict", "S0")
    assert error.value.dependency == "postgresql"
    assert len(clients.pauses) == 1


def test_a_training_run_is_started_seen_and_stopped(clients: Clients) -> None:
    order = TrainingOrder(strategy="gru", epochs=7)
    run = clients.call("start_training", order, idempotency_key="k")
    assert (run.state, run.under_way, run.request) == ("queued", True, order)
    assert clients.call("start_training", order, idempotency_key="k").job_id == run.job_id
    assert clients.call("training_status", run.job_id) == run
    with pytest.raises(ConflictError, match=str(run.job_id)):
        clients.call("start_training")
    stopped = clients.call("stop_training", run.job_id)
    assert (stopped.state, stopped.under_way, stopped.error) == ("stopped", False, "Stopped on request.")
    with pytest.raises(ConflictError):
        clients.call("stop_training", run.job_id)
    with pytest.raises(NotFoundError):
        clients.call("training_status", UUID(int=99))


def test_every_start_without_a_key_gets_one_of_its_own(clients: Clients) -> None:
    clients.call("start_training")
    (key,) = clients.serving.training.store.keys
    assert UUID(key)


def test_registered_models_and_a_card(clients: Clients) -> None:
    newest, _older = clients.call("models")
    assert (newest.model_version, newest.aliases) == ("2", ("champion",))
    assert len(clients.call("models", limit=1)) == 1
    model = clients.call("model", "2")
    assert (model.metrics, model.report) == ({"test.auc": 0.8}, {"title": "District demo"})
    assert clients.call("model_card", "2").startswith("<html>")
    for version in ("1", "7"):
        with pytest.raises(NotFoundError):
            clients.call("model_card", version)


def outcome(number: int, **changes: Any) -> OutcomeFeedback:
    said: dict[str, Any] = {"student_id": StudentId("S1"), "recorded_at": datetime(2022, 2, 3, tzinfo=UTC)} | changes
    return OutcomeFeedback(key=f"o{number}", given_by="registrar", outcome="left", happened_on=date(2022, 2, 1), **said)


def test_any_number_of_statements_is_given_in_requests_of_100(clients: Clients) -> None:
    made = clients.call("predict", "S1")
    helped = InterventionFeedback(
        key="i", student_id=StudentId("S1"), given_by="r", intervention="mentoring", started_on=date(2022, 1, 3)
    )
    opinion = FlagFeedback(
        key="f", student_id=StudentId("S1"), given_by="r", verdict="useful", prediction_id=made.prediction_id
    )
    statements = [helped, opinion, *(outcome(number) for number in range(150))]
    assert clients.call("give_feedback", statements) == ["created"] * 152
    assert clients.call("give_feedback", statements) == ["unchanged"] * 152
    stored = clients.serving.district.feedback.versions
    assert len(stored) == 152
    assert {version["recorded_at"] for version in stored[2:]} == {"2022-02-03T00:00:00+00:00"}
    assert clients.call("give_feedback", []) == []


def test_refused_feedback_is_an_exception_that_names_the_place(clients: Clients) -> None:
    with pytest.raises(NotFoundError, match=r"body\.statements\.1\.outcome\.student_id"):
        clients.call("give_feedback", [outcome(1), outcome(2, student_id=StudentId("nobody"))])
    clients.call("give_feedback", [outcome(1)])
    with pytest.raises(ConflictError):
        clients.call("give_feedback", [outcome(1, student_id=StudentId("S2"))])
    with pytest.raises(InvalidInputError, match="time zone"):
        clients.call("give_feedback", [outcome(3, recorded_at=datetime(2022, 2, 3))])  # noqa: DTZ001
