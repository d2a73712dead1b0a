"""A version beside the champion: whom it answers, what is stored of it, and that it never costs an answer."""

import asyncio
from datetime import timedelta

import pytest

from deployments.coalescer import BatchLimits
from deployments.messages import Answer, FetchRequest, Question
from deployments.scoring import ScoringOptions
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.predictions import Prediction
from tests.fakes.challenging import CHALLENGE, ChallengedServing, challenge
from tests.fakes.serving import NOW, STUDENTS

HALF = challenge(split=0.5)
THEIRS = {name for name in STUDENTS if HALF.answers(StudentId(name))}
OURS = set(STUDENTS) - THEIRS


def questions(names=STUDENTS) -> list[Question]:
    return [Question(StudentId(name), None, False, "r", "token-1") for name in names]


def asked(serving: ChallengedServing, *, times: int = 1, names=STUDENTS) -> dict[str, Prediction]:
    """The last answer about each student, after one look at the setting."""

    async def scenario() -> list[Answer]:
        await serving.look()
        for _ in range(times - 1):
            await serving.scoring.predict_many(questions(names))
        answers = list(await serving.scoring.predict_many(questions(names)))
        await asyncio.sleep(0.05)
        return answers

    answers = asyncio.run(scenario())
    return {answer.student_id: answer for answer in answers if isinstance(answer, Prediction)}


def by_version(answers: dict[str, Prediction]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, answer in answers.items():
        found.setdefault(answer.model_version, set()).add(name)
    return found


def test_the_draw_of_these_tests_has_both_arms() -> None:
    assert THEIRS
    assert OURS


@pytest.mark.parametrize("setting", [None, CHALLENGE])
def test_without_a_challenge_nothing_is_asked_of_the_challenger(setting) -> None:
    serving = ChallengedServing(setting)
    answers = asked(serving, times=2)
    assert by_version(answers) == {"1": set(STUDENTS)}
    assert (serving.beside.requests, serving.beside.served_calls) == ([], 0)
    assert {(answer.role, answer.challenge_id) for answer in answers.values()} == {("champion", None)}
    assert (serving.counted.arms, serving.counted.shadows) == ({}, {})


def test_each_arm_is_answered_by_its_own_model_and_stored_with_its_role() -> None:
    serving = ChallengedServing(HALF)
    answers = asked(serving, times=3)
    assert by_version(answers) == {"1": OURS, "2": THEIRS}
    roles = {
        answer.student_id: (answer.role, answer.challenge_id) for answer in serving.district.predictions.predictions
    }
    assert roles == {
        **dict.fromkeys(OURS, ("champion", HALF.challenge_id)),
        **dict.fromkeys(THEIRS, ("challenger", HALF.challenge_id)),
    }
    assert serving.counted.arms == {"champion": 3 * len(OURS), "challenger": 3 * len(THEIRS)}
    assert len(serving.beside.requests) == 1, "the second and third answers come out of the cache"
    assert serving.counted.weights == (0.0, 0.5, True)


def test_answers_keep_the_order_asked() -> None:
    serving = ChallengedServing(HALF)
    names = ["S3", "S0", "ghost", "S2", "S1", "S3"]

    async def scenario() -> list[str]:
        await serving.look()
        return [answer.student_id for answer in await serving.scoring.predict_many(questions(names))]

    assert asyncio.run(scenario()) == names


def test_an_answer_from_before_the_challenge_is_not_taken_for_one_of_its_own() -> None:
    serving = ChallengedServing(None)
    before = asked(serving)
    serving.district.challenges.challenge = HALF
    during = asked(serving)
    assert not {answer.prediction_id for answer in before.values()} & {a.prediction_id for a in during.values()}
    serving.district.challenges.challenge = None
    assert asked(serving) == before


def test_weights_change_live_and_students_stay_in_their_arm() -> None:
    serving = ChallengedServing(HALF)
    asked(serving)
    serving.district.challenges.challenge = challenge(split=1.0)
    assert by_version(asked(serving)) == {"2": set(STUDENTS)}
    serving.district.challenges.challenge = HALF
    assert by_version(asked(serving)) == {"1": OURS, "2": THEIRS}


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda serving: setattr(serving.beside, "error", DependencyDownError("gone", dependency="x")), "failed"),
        (lambda serving: setattr(serving.beside, "error", MemoryError()), "failed"),
        (lambda serving: setattr(serving.beside, "delay_s", 5.0), "late"),
    ],
)
def test_a_challenger_that_fails_or_is_late_is_answered_for_and_rests(break_it, reason) -> None:
    serving = ChallengedServing(challenge(split=1.0), timeout_s=0.05)
    break_it(serving)
    answers = asked(serving, times=3)
    assert by_version(answers) == {"1": set(STUDENTS)}
    assert {answer.role for answer in serving.district.predictions.predictions} == {"champion"}
    assert serving.counted.fallbacks == {reason: 4, "paused": 8}
    assert len(serving.beside.requests) == 1
    serving.seconds += 6.0
    serving.beside.error, serving.beside.delay_s = None, 0.0
    assert by_version(asked(serving)) == {"2": set(STUDENTS)}


def test_a_hanging_challenger_is_not_tried_by_everything_that_waits() -> None:
    batches = BatchLimits(max_batch_size=len(STUDENTS), wait_s=0.0, max_concurrent=2, max_waiting=4096, max_wait_s=60.0)
    options = ScoringOptions(answer_timeout_s=2.0, batches=batches)
    serving = ChallengedServing(challenge(split=0.5), timeout_s=0.3, options=options)
    serving.beside.delay_s = 30.0

    async def scenario() -> list[Answer]:
        await serving.look()
        answers = await asyncio.gather(*(serving.scoring.predict_many(questions()) for _ in range(32)))
        return [answer for batch in answers for answer in batch]

    answers = asyncio.run(scenario())
    assert [answer.student_id for answer in answers] == list(STUDENTS) * 32
    assert {answer.role for answer in answers if isinstance(answer, Prediction)} == {"champion"}
    assert len(serving.beside.requests) <= batches.max_concurrent
    assert set(serving.counted.fallbacks) == {"late", "paused"}
    assert sum(serving.counted.fallbacks.values()) == 32 * len(THEIRS)


def test_what_is_not_tried_does_not_lengthen_the_rest() -> None:
    serving = ChallengedServing(challenge(split=1.0))
    request = FetchRequest((StudentId("S1"),), NOW)
    serving.beside.error = DependencyDownError("gone", dependency="x")

    def asked_at(seconds: float) -> int:
        serving.seconds = seconds
        with pytest.raises(DependencyDownError):
            asyncio.run(serving.pausing.score(request, with_reasons=[False]))
        return len(serving.beside.requests)

    assert [asked_at(seconds) for seconds in (0.0, 3.0, 4.9, 5.0)] == [1, 1, 1, 2]


def test_a_replica_that_still_serves_another_version_answers_nobody() -> None:
    serving = ChallengedServing(challenge(split=1.0))
    asyncio.run(serving.look())
    asyncio.run(serving.beside.slot.aim("1"))
    answers = asyncio.run(serving.scoring.predict_many(questions()))
    assert {answer.role for answer in answers if isinstance(answer, Prediction)} == {"champion"}
    assert serving.counted.fallbacks == {"failed": len(STUDENTS)}


def test_a_slow_challenger_delays_nobody_of_the_champions_arm() -> None:
    serving = ChallengedServing(HALF, timeout_s=5.0)
    serving.beside.delay_s = 5.0

    async def scenario() -> set[str]:
        await serving.look()
        (theirs,) = questions([min(THEIRS)])
        waiting = asyncio.create_task(serving.scoring.predict(theirs))
        await asyncio.sleep(0)
        answers = await asyncio.gather(*(serving.scoring.predict(question) for question in questions(sorted(OURS))))
        assert not waiting.done()
        waiting.cancel()
        return {answer.student_id for answer in answers}

    assert asyncio.run(scenario()) == OURS


@pytest.mark.parametrize("serves", ["another version", "nothing", "no answer", "the champion"])
def test_a_challenger_that_does_not_serve_its_version_answers_nobody(serves: str) -> None:
    serving = ChallengedServing(challenge(split=1.0, shadow=1.0))
    if serves == "another version":
        asyncio.run(serving.beside.slot.aim("1"))
        serving.pipeline.slot._live = None  # the champion is a third one
        asyncio.run(serving.pipeline.slot.aim("2"))
        serving.district.challenges.challenge = challenge(split=1.0)
    elif serves == "nothing":
        serving.beside.slot._live = None
    elif serves == "no answer":
        serving.beside.served_delay_s = 5.0
    else:
        asyncio.run(serving.pipeline.slot.aim("2"))
    answers = asked(serving)
    assert {answer.role for answer in answers.values()} == {"champion"}
    assert serving.beside.requests == []
    assert serving.counted.fallbacks["not_ready"] == len(STUDENTS)


def test_a_setting_that_cannot_be_read_leaves_the_last_one_in_force() -> None:
    serving = ChallengedServing(HALF)
    asked(serving)
    serving.district.challenges.switch.down = True
    asyncio.run(serving.look())
    assert serving.counted.unreadable
    assert serving.watch.challenge == HALF
    serving.district.challenges.switch.down = False
    serving.district.challenges.challenge = None
    asyncio.run(serving.look())
    assert (serving.counted.unreadable, serving.watch.challenge) == (False, None)


def test_the_gateway_follows_in_the_background() -> None:
    serving = ChallengedServing(HALF)

    async def scenario() -> ModelVersion | None:
        task = asyncio.create_task(serving.watch.run())
        await asyncio.sleep(0.05)
        task.cancel()
        return serving.watch.ready and serving.watch.ready.version

    assert asyncio.run(scenario()) == "2"


def test_yesterdays_answer_is_another_question() -> None:
    serving = ChallengedServing(challenge(split=1.0))
    first = asked(serving)
    serving.district.clock.advance(timedelta(days=1))
    second = asked(serving)
    assert not {a.prediction_id for a in first.values()} & {a.prediction_id for a in second.values()}
