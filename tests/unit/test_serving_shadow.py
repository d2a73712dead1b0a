"""The challenger in the shadow: what it says is stored and unheard, and whatever it does costs no answer."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from deployments.messages import Question
from deployments.shadow import ShadowLimits
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.predictions import Prediction
from tests.fakes.challenging import ChallengedServing, challenge
from tests.fakes.serving import NOW, STUDENTS

ALL = challenge(shadow=1.0)
QUICK = ShadowLimits(gather_s=0.0, timeout_s=0.1)


async def ask(serving: ChallengedServing, names=STUDENTS, *, as_of: datetime | date | None = None) -> list[Prediction]:
    questions = [Question(StudentId(name), as_of, True, "r", "token-1") for name in names]
    return [answer for answer in await serving.scoring.predict_many(questions) if isinstance(answer, Prediction)]


def asked(serving: ChallengedServing, names=STUDENTS, *, wait_s: float = 0.05) -> list[Prediction]:
    async def scenario() -> list[Prediction]:
        await serving.look()
        answers = await ask(serving, names)
        await asyncio.sleep(wait_s)
        return answers

    return asyncio.run(scenario())


def test_the_challenger_scores_what_was_answered_and_is_not_heard() -> None:
    serving = ChallengedServing(ALL)
    answers = asked(serving)
    assert {answer.model_version for answer in answers} == {"1"}
    assert serving.shadows() == dict.fromkeys(STUDENTS, "2")
    stored = serving.district.challenges.shadows
    assert {beside for _, beside in stored} == {answer.prediction_id for answer in answers}
    assert all(pair.beside in answers and pair.said.as_of == pair.beside.as_of for pair in stored.values())
    assert serving.district.predictions.predictions == answers, "the shadow is no prediction that anybody was given"
    assert len(serving.district.predictions.audit_log) == len(answers)
    ((_, reasons),) = serving.beside.requests
    assert not any(reasons)
    assert serving.counted.shadows == {"scored": len(STUDENTS)}


def test_the_share_says_whom() -> None:
    serving = ChallengedServing(half := challenge(shadow=0.5))
    asked(serving)
    assert set(serving.shadows()) == {name for name in STUDENTS if half.shadows(StudentId(name))}


def test_a_cached_answer_and_one_without_enough_data_have_no_shadow() -> None:
    async def scenario(serving: ChallengedServing) -> None:
        await serving.look()
        for _ in range(3):
            await ask(serving, ["S1", "NEW", "ghost"])
            await asyncio.sleep(0.02)

    serving = ChallengedServing(ALL)
    asyncio.run(scenario(serving))
    assert serving.counted.shadows == {"scored": 1}


def test_the_answer_leaves_before_the_challenger_is_asked() -> None:
    serving = ChallengedServing(ALL, limits=ShadowLimits(gather_s=0.05))

    async def scenario() -> tuple[int, int]:
        await serving.look()
        await ask(serving)
        before = len(serving.beside.requests)
        await asyncio.sleep(0.2)
        return before, len(serving.beside.requests)

    assert asyncio.run(scenario()) == (0, 1)


@pytest.mark.parametrize("fault", ["raises", "hangs", "cannot be stored"])
def test_a_challenger_that_goes_wrong_costs_no_answer_and_is_left_alone_for_a_while(fault: str) -> None:
    serving = ChallengedServing(ALL, limits=QUICK)
    if fault == "raises":
        serving.beside.error = RuntimeError("a model that raises")
    elif fault == "hangs":
        serving.beside.delay_s = 60.0
    else:
        serving.district.challenges.save_shadows = _refusing

    async def scenario() -> list[int]:
        await serving.look()
        answered = [len(await ask(serving))]
        await asyncio.sleep(0.3)
        answered.append(len(await ask(serving, as_of=(NOW - timedelta(days=1)).date())))
        await asyncio.sleep(0.05)
        return answered

    assert asyncio.run(scenario()) == [len(STUDENTS), len(STUDENTS)]
    assert serving.counted.shadows == {"failed": len(STUDENTS), "dropped": len(STUDENTS)}
    assert len(serving.beside.requests) == 1
    assert serving.shadows() == {}


def test_a_sundays_end_and_an_hour_before_it_are_not_one_call() -> None:
    serving = ChallengedServing(ALL, limits=ShadowLimits(gather_s=0.05))
    sunday = date(2022, 3, 6)

    async def scenario() -> None:
        await serving.look()
        await ask(serving, ["S1"], as_of=sunday)
        await ask(serving, ["S2"], as_of=datetime(2022, 3, 6, 15, tzinfo=UTC))
        await asyncio.sleep(0.3)

    asyncio.run(scenario())
    assert len(serving.beside.requests) == 2
    weeks = {pair.said.student_id: pair.said.feature_week for pair in serving.district.challenges.shadows.values()}
    assert weeks == {"S1": date(2022, 2, 28), "S2": date(2022, 2, 21)}


async def _refusing(*_args, **_more) -> None:
    raise DependencyDownError("PostgreSQL does not answer.", dependency="postgresql")


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    serving = ChallengedServing(ALL, limits=ShadowLimits(max_waiting=3, gather_s=0.0, timeout_s=0.2))
    asked(serving)
    assert serving.counted.shadows == {"scored": 3, "dropped": 1}


def test_nothing_waits_for_a_challenger_that_is_not_there() -> None:
    serving = ChallengedServing(ALL)
    serving.beside.slot._live = None
    asked(serving)
    assert serving.counted.shadows == {"dropped": len(STUDENTS)}
    assert serving.beside.requests == []


def test_one_call_at_a_time_a_day_at_a_time_and_each_student_once() -> None:
    serving = ChallengedServing(ALL, limits=ShadowLimits(gather_s=0.05, batch_size=3))

    async def scenario() -> None:
        await serving.look()
        for days_ago in (0, 7):
            await ask(serving, as_of=(NOW - timedelta(days=days_ago)).date())
        await asyncio.sleep(0.5)

    asyncio.run(scenario())
    sizes = sorted(len(request.student_ids) for request, _ in serving.beside.requests)
    assert sizes == [1, 1, 3, 3]
    assert all(len(set(request.student_ids)) == len(request.student_ids) for request, _ in serving.beside.requests)
    assert serving.counted.shadows == {"scored": 8}
    moments = {(pair.said.student_id, pair.said.as_of.date()) for pair in serving.district.challenges.shadows.values()}
    assert len(moments) == 8
