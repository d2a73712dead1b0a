"""The fake and PostgreSQL keep what a challenger says alike."""

from dataclasses import replace
from datetime import timedelta

import pytest

from edupulse_ml.core.challenge import Challenge, ShadowPrediction
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.storage.challenges import ChallengeSetting, PostgresChallengeStore
from tests.fakes.predictions import MOMENT, prediction
from tests.fakes.store_world import SCHOOLS, STUDENTS, World
from tests.fakes.stores import FakeChallengeStore

CHALLENGE = Challenge("11111111-0000-4000-8000-000000000000", ModelVersion("8"), shadow=0.25, split=0.5)


class Fake:
    """Runs work against the fake."""

    def __init__(self) -> None:
        self.store = FakeChallengeStore(frozenset({StudentId("s1"), StudentId("s2")}))

    def run(self, work):
        import asyncio

        return asyncio.run(work(self.store))

    def set(self, challenge: Challenge | None) -> None:
        self.store.challenge = challenge

    def pairs(self) -> list[tuple[str, str, float, float]]:
        """Challenge, student, answered and said score."""
        return [
            (challenge_id, pair.said.student_id, pair.beside.risk_score, pair.said.risk_score)
            for (challenge_id, _), pair in self.store.shadows.items()
        ]


class Real:
    """Runs work against PostgreSQL, on a pool of its own each time."""

    def __init__(self, urls) -> None:
        self.world = World(urls)
        self.world.load({"schools": SCHOOLS, "students": STUDENTS})

    def run(self, work):
        return self.world.run(lambda database: work(PostgresChallengeStore(database)))

    def set(self, challenge: Challenge | None) -> None:
        over = ChallengeSetting(replace(CHALLENGE, shadow=0.0, split=0.0), True, MOMENT, "ada")
        setting = over if challenge is None else ChallengeSetting(challenge, False, MOMENT, "ada")
        self.run(lambda store: store.set(setting))

    def pairs(self) -> list[tuple[str, str, float, float]]:
        rows = self.world.rows(
            "SELECT challenge_id::text, student_id, answered_risk_score, risk_score FROM shadow_predictions "
            "JOIN students USING (student_key) ORDER BY prediction_id"
        )
        return [tuple(row.values()) for row in rows]


@pytest.fixture(params=["fake", "postgresql"])
def side(request):
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("database_urls"))


def shadow(number: int, *, student: str = "s1", score: float = 0.75) -> ShadowPrediction:
    said = prediction(
        100 + number, student=student, created_at=MOMENT, model_version=ModelVersion("8"), risk_score=score
    )
    return ShadowPrediction(prediction(number, student=student, risk_score=0.25), said)


def save(side, *shadows: ShadowPrediction) -> None:
    side.run(lambda store: store.save_shadows(shadows, challenge_id=CHALLENGE.challenge_id))


def test_the_challenge_is_what_was_set_last(side) -> None:
    assert side.run(lambda store: store.current()) is None
    side.set(CHALLENGE)
    assert side.run(lambda store: store.current()) == CHALLENGE
    side.set(replace(CHALLENGE, split=0.0))
    assert side.run(lambda store: store.current()) == replace(CHALLENGE, split=0.0)
    side.set(None)
    assert side.run(lambda store: store.current()) is None


def test_what_the_challenger_says_is_kept_once_beside_the_answer(side) -> None:
    save(side)
    save(side, shadow(1), shadow(2, student="s2", score=0.5))
    save(side, shadow(1, score=0.9))
    key = CHALLENGE.challenge_id
    assert side.pairs() == [(key, "s1", 0.25, 0.75), (key, "s2", 0.25, 0.5)]


def test_a_student_whom_the_district_does_not_have_is_left_out(side) -> None:
    save(side, shadow(1, student="ghost"), shadow(2))
    assert [student for _, student, _, _ in side.pairs()] == ["s1"]


def test_a_month_that_nobody_has_rows_in_yet_is_no_obstacle(side) -> None:
    later = shadow(1)
    save(side, replace(later, said=replace(later.said, created_at=MOMENT + timedelta(days=400))), shadow(2))
    assert len(side.pairs()) == 2
