"""Cache, hops, store and audit of the scoring service."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from deployments.messages import Question, UnknownStudent
from deployments.moments import AsOfError, resolve_as_of
from deployments.scoring import ScoringOptions
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.core.weeks import day_from_number
from tests.fakes.serving import LAST_WEEK, NOW, REASON, SHIELD, ZONE, FakeModels, LocalServing


def ask(name: str, *, as_of: datetime | date | None = None, reasons: bool = True, request: str = "r") -> Question:
    return Question(StudentId(name), as_of, reasons, request, "token-1")


def scored(answer: object) -> Prediction:
    assert isinstance(answer, Prediction)
    return answer


def test_a_prediction_carries_score_category_reasons_weeks_and_versions() -> None:
    serving = LocalServing()
    answer = scored(asyncio.run(serving.scoring.predict(ask("S2"))))
    assert answer.risk_score == pytest.approx(0.5)
    assert answer.risk_60plus == pytest.approx(0.25)
    assert answer.category == "high"
    assert (answer.reasons, answer.protective_factors) == ((REASON,), (SHIELD,))
    assert [item.week for item in answer.attention_weeks] == [day_from_number(LAST_WEEK - 7 * i) for i in range(3)]
    assert answer.feature_week == day_from_number(LAST_WEEK)
    assert (answer.coverage.attendance, answer.coverage.weeks) == (1.0, 20)
    assert (answer.model_version, answer.policy_version) == ("1", "p1")
    assert answer.as_of == answer.created_at == NOW


def test_every_answer_is_stored_and_audited_before_it_leaves() -> None:
    serving = LocalServing()
    store = serving.district.predictions
    answer = scored(asyncio.run(serving.scoring.predict(ask("S1", request="req-7"))))
    assert store.predictions == [answer]
    (entry,) = store.audit_log
    assert (entry.student_id, entry.action, entry.actor, entry.request_id) == ("S1", "predict", "token-1", "req-7")


def test_no_answer_leaves_when_it_cannot_be_audited() -> None:
    serving = LocalServing()
    serving.district.predictions.switch.down = True
    with pytest.raises(DependencyDownError):
        asyncio.run(serving.scoring.predict(ask("S1")))
    assert not [slot for slot in serving.district.cache.values if slot.field.startswith("answer")]


def test_concurrent_predictions_make_one_call_and_one_save() -> None:
    async def scenario(serving: LocalServing) -> list[object]:
        return list(await asyncio.gather(*(serving.scoring.predict(ask(f"S{i % 4}")) for i in range(40))))

    serving = LocalServing()
    answers = asyncio.run(scenario(serving))
    assert len(serving.pipeline.requests) == 1
    assert sorted(serving.pipeline.requests[0][0].student_ids) == ["S0", "S1", "S2", "S3"]
    assert len({item.prediction_id for item in serving.district.predictions.predictions}) == 4
    assert len(serving.district.predictions.audit_log) == 40
    assert [scored(answer).student_id for answer in answers] == [f"S{i % 4}" for i in range(40)]
    assert serving.pipeline.served_calls == 1
    assert serving.metrics.batches == [40]


def test_the_second_answer_comes_from_the_cache_with_the_same_id_and_is_audited_again() -> None:
    async def scenario(serving: LocalServing) -> tuple[object, object]:
        return await serving.scoring.predict(ask("S1")), await serving.scoring.predict(ask("S1"))

    serving = LocalServing()
    first, second = asyncio.run(scenario(serving))
    assert first == second
    assert len(serving.pipeline.requests) == 1
    assert len(serving.district.predictions.predictions) == 1
    assert len(serving.district.predictions.audit_log) == 2
    assert serving.metrics.answers == [("scored", False), ("scored", True)]


def test_dropping_a_student_or_changing_the_model_ends_the_cached_answer() -> None:
    async def scenario(serving: LocalServing) -> list[str]:
        first = scored(await serving.scoring.predict(ask("S1")))
        await serving.district.cache.drop([StudentId("S1")])
        after_drop = scored(await serving.scoring.predict(ask("S1")))
        await serving.slot.aim("2")
        after_swap = scored(await serving.scoring.predict(ask("S1")))
        assert after_swap.model_version == "2"
        return [first.prediction_id, after_drop.prediction_id, after_swap.prediction_id]

    serving = LocalServing(options=ScoringOptions(model_version_max_age_s=0.0))
    assert len(set(asyncio.run(scenario(serving)))) == 3


def test_an_answer_computed_before_a_drop_is_not_cached() -> None:
    async def scenario(serving: LocalServing) -> None:
        serving.pipeline.delay_s = 0.02
        task = asyncio.create_task(serving.scoring.predict(ask("S1")))
        await asyncio.sleep(0.01)
        await serving.district.cache.drop([StudentId("S1")])
        await task

    serving = LocalServing()
    asyncio.run(scenario(serving))
    assert not [slot for slot in serving.district.cache.values if slot.field.startswith("answer")]


def test_reasons_only_where_asked_for() -> None:
    async def scenario(serving: LocalServing) -> list[Prediction]:
        without = scored(await serving.scoring.predict(ask("S1", reasons=False)))
        with_reasons = scored(await serving.scoring.predict(ask("S1")))
        again = scored(await serving.scoring.predict(ask("S1", reasons=False)))
        return [without, with_reasons, again]

    serving = LocalServing()
    without, with_reasons, again = asyncio.run(scenario(serving))
    assert without.reasons is None
    assert with_reasons.reasons == (REASON,)
    assert again.reasons is None
    assert again.prediction_id == with_reasons.prediction_id
    assert [wanted for _, wanted in serving.pipeline.requests] == [(False,), (True,)]


def test_one_batch_of_mixed_students_keeps_the_order_and_fails_nobody_else() -> None:
    serving = LocalServing()
    names = ["S3", "nobody", "NEW", "S0", "EMPTY", "S3"]
    answers = asyncio.run(serving.scoring.predict_many([ask(name) for name in names]))
    assert [answer.student_id for answer in answers] == names
    assert [answer.status for answer in answers] == [
        "scored", "unknown_student", "insufficient_data", "scored", "insufficient_data", "scored",
    ]  # fmt: skip
    assert isinstance(answers[1], UnknownStudent)
    new, empty = answers[2], answers[4]
    assert isinstance(new, InsufficientData)
    assert "2 instructional weeks" in new.missing[0]
    assert isinstance(empty, InsufficientData)
    assert "0 instructional weeks" in empty.missing[0]
    assert answers[0] == answers[5]
    assert len({item.prediction_id for item in serving.district.predictions.predictions}) == 2
    assert len(serving.district.predictions.audit_log) == 5


def test_each_day_asked_about_is_one_call_with_its_own_weeks() -> None:
    async def scenario(serving: LocalServing) -> list[object]:
        earlier = NOW - timedelta(days=14)
        return list(await serving.scoring.predict_many([ask("S1"), ask("S1", as_of=earlier), ask("S2", as_of=earlier)]))

    serving = LocalServing()
    today, earlier, other = (scored(answer) for answer in asyncio.run(scenario(serving)))
    assert len(serving.pipeline.requests) == 2
    assert today.feature_week - earlier.feature_week == timedelta(days=14)
    assert earlier.feature_week == other.feature_week


SUNDAY = date(2022, 3, 6)
BEFORE_ITS_END = datetime(2022, 3, 6, 15, tzinfo=UTC)


@pytest.mark.parametrize("order", [(SUNDAY, BEFORE_ITS_END), (BEFORE_ITS_END, SUNDAY)])
@pytest.mark.parametrize("together", [False, True])
def test_a_sundays_end_counts_the_week_that_closes_with_it_and_an_hour_before_does_not(
    order: tuple[datetime | date, ...], together: bool
) -> None:
    async def scenario(serving: LocalServing) -> list[Prediction]:
        questions = [ask("S1", as_of=as_of) for as_of in order]
        if together:
            return [scored(answer) for answer in await serving.scoring.predict_many(questions)]
        return [scored(await serving.scoring.predict(question)) for question in questions]

    answers = dict(zip(order, asyncio.run(scenario(LocalServing())), strict=True))
    assert answers[SUNDAY].feature_week == date(2022, 2, 28)
    assert answers[BEFORE_ITS_END].feature_week == date(2022, 2, 21)


def test_moments_of_one_day_share_an_answer_where_no_week_closes_between_them() -> None:
    async def scenario(serving: LocalServing) -> set[str]:
        moments = [BEFORE_ITS_END + timedelta(hours=hours) for hours in (0, 3, 6)]
        return {scored(await serving.scoring.predict(ask("S1", as_of=moment))).prediction_id for moment in moments}

    serving = LocalServing()
    assert len(asyncio.run(scenario(serving))) == 1
    assert len(serving.pipeline.requests) == 1


def test_a_redis_that_is_down_costs_no_answer() -> None:
    serving = LocalServing()
    serving.district.cache.switch.down = True
    assert scored(asyncio.run(serving.scoring.predict(ask("S1")))).risk_score == pytest.approx(0.3)


def test_without_a_model_the_error_names_the_registry() -> None:
    models = FakeModels(error=DependencyDownError("MLflow does not answer.", dependency="model registry"))
    serving = LocalServing(models=models)
    with pytest.raises(DependencyDownError, match="MLflow does not answer") as error:
        asyncio.run(serving.scoring.predict(ask("S1")))
    assert error.value.dependency == "model registry"


def test_as_of_means_now_a_moment_or_the_end_of_a_local_day() -> None:
    resolve = lambda asked: resolve_as_of(asked, now=NOW, zone=ZONE)  # noqa: E731
    assert resolve(None) == NOW
    assert resolve(NOW - timedelta(hours=2)) == NOW - timedelta(hours=2)
    assert resolve(date(2022, 3, 9)) == NOW
    assert resolve(date(2022, 3, 1)) == datetime(2022, 3, 2, 4, 59, 59, tzinfo=UTC)
    # the day on which the clocks go forward ends an hour earlier in UTC
    later = datetime(2022, 4, 1, tzinfo=UTC)
    assert resolve_as_of(date(2022, 3, 13), now=later, zone=ZONE) == datetime(2022, 3, 14, 3, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "asked",
    [
        NOW + timedelta(seconds=1),
        date(2022, 3, 10),
        date(1989, 12, 31),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2022, 1, 1),  # noqa: DTZ001 - that it has no zone is the point
    ],
)
def test_other_moments_are_refused(asked: datetime | date) -> None:
    with pytest.raises(AsOfError):
        resolve_as_of(asked, now=NOW, zone=ZONE)


def test_reading_the_history_is_audited_before_it_leaves() -> None:
    serving = LocalServing()
    store = serving.district.predictions
    asyncio.run(serving.scoring.predict(ask("S1")))
    read = serving.scoring.history(StudentId("S1"), limit=5, actor="token-1", request_id="r9")
    assert list(asyncio.run(read)) == store.predictions
    entry = store.audit_log[-1]
    assert (entry.actor, entry.action, entry.outcome, entry.request_id, entry.student_id) == (
        "token-1", "history", "read", "r9", "S1",
    )  # fmt: skip


def test_no_history_leaves_when_reading_it_cannot_be_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise DependencyDownError("postgresql did not answer", dependency="postgresql")

    serving = LocalServing()
    monkeypatch.setattr(serving.district.predictions, "audit", refuse)
    with pytest.raises(DependencyDownError):
        asyncio.run(serving.scoring.history(StudentId("S1"), limit=5, actor="token-1", request_id="r"))
