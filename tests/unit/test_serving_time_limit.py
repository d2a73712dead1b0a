"""A server that hangs costs its callers a bounded wait, is named, and is used again once it is back."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from deployments.coalescer import BatchLimits
from deployments.messages import Question
from deployments.scoring import ScoringOptions
from deployments.time_limit import NoAnswerInTimeError, TimeLimit, Waiting
from edupulse_ml.core.errors import DependencyDownError, TooManyRequestsError
from edupulse_ml.core.ids import StudentId
from tests.fakes.serving import LocalServing

OPTIONS = ScoringOptions(answer_timeout_s=0.05, batches=BatchLimits(max_batch_size=1, max_concurrent=2, max_waiting=4))


def ask(name: str) -> Question:
    return Question(StudentId(name), None, False, "r", "token-1")


async def hang(*_: object, **__: object) -> None:
    """As a driver does whose server hangs: being cancelled does not end the wait at once."""
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(30)
        raise


def break_store(serving: LocalServing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.district.predictions, "save", hang)


def break_cache(serving: LocalServing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.district.cache, "read", hang)


def break_hops(serving: LocalServing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(serving.pipeline), "score", hang)


def break_model(serving: LocalServing, _: pytest.MonkeyPatch) -> None:
    serving.pipeline.served_delay_s = 30


def break_district(serving: LocalServing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.district.reader, "district", hang)


Call = Callable[[LocalServing], Awaitable[object]]
CALLS: list[Call] = [
    lambda serving: serving.scoring.predict(ask("S1")),
    lambda serving: serving.scoring.predict_many([ask("S1")]),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("broken", "dependency"),
    [
        (break_store, "postgresql"),
        (break_district, "postgresql"),
        (break_cache, "redis"),
        (break_hops, "ray serve"),
        (break_model, "ray serve"),
    ],
)
def test_a_hanging_server_is_named_in_time(broken, dependency: str, call: Call, monkeypatch) -> None:
    serving = LocalServing(options=OPTIONS)
    broken(serving, monkeypatch)

    async def scenario() -> None:
        started = time.perf_counter()
        with pytest.raises(DependencyDownError, match=r"did not answer within 0\.") as error:
            await call(serving)
        assert time.perf_counter() - started < 2
        assert error.value.dependency == dependency

    asyncio.run(scenario())


def test_history_and_the_served_model_are_bounded_too(monkeypatch) -> None:
    serving = LocalServing(options=OPTIONS)
    monkeypatch.setattr(serving.district.predictions, "history", hang)
    break_model(serving, monkeypatch)

    async def scenario() -> None:
        with pytest.raises(NoAnswerInTimeError, match="postgresql"):
            await serving.scoring.history(StudentId("S1"), limit=1, actor="token-1", request_id="r")
        with pytest.raises(NoAnswerInTimeError, match="ray serve"):
            await serving.scoring.served()

    asyncio.run(scenario())


def test_once_the_server_is_back_the_next_question_is_answered(monkeypatch) -> None:
    async def scenario() -> None:
        serving = LocalServing(load_model=False, options=OPTIONS)
        await serving.slot.aim("champion")
        with monkeypatch.context() as patch:
            break_hops(serving, patch)
            questions = [serving.scoring.predict(ask(f"S{i % 4}")) for i in range(12)]
            failed = await asyncio.gather(*questions, return_exceptions=True)
        assert {type(error) for error in failed} == {NoAnswerInTimeError, TooManyRequestsError}
        assert (await serving.scoring.predict(ask("S1"))).status == "scored"

    asyncio.run(scenario())


def test_a_caller_that_goes_away_cancels_the_work() -> None:
    cancelled: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scenario() -> None:
        caller = asyncio.create_task(TimeLimit(30).run(work(), Waiting("redis")))
        await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert cancelled == [True]


def test_an_error_of_the_work_passes_through() -> None:
    async def work() -> None:
        raise DependencyDownError("gone", dependency="redis")

    with pytest.raises(DependencyDownError, match="gone"):
        asyncio.run(TimeLimit(1).run(work(), Waiting("postgresql")))
