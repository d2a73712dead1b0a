"""Which stored predictions the monitoring may judge: those that were there in time to be acted on."""

from datetime import UTC, date, datetime, timedelta

import pytest

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.weeks import day_number
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.monitoring import MonitoringRepository
from edupulse_ml.storage.predictions import PostgresPredictionStore
from tests.fakes.predictions import prediction
from tests.fakes.store_world import SCHOOLS, STUDENTS, World

MONDAY = date(2025, 2, 24)
SPOKEN_FROM = datetime(2025, 3, 3, 12, tzinfo=UTC)
LOOK = datetime(2025, 9, 15, 12, tzinfo=UTC)
VERSION = ModelVersion("7")


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


def served(world: World, *made: tuple[datetime, float], as_of: datetime = LOOK) -> list[float]:
    """Scores that count at `as_of`, after predictions of one student and week were made at these moments."""
    answers = [
        prediction(
            number, created_at=at, as_of=SPOKEN_FROM, feature_week=MONDAY, model_version=VERSION, risk_score=score
        )
        for number, (at, score) in enumerate(made)
    ]

    async def work(database: Database) -> list[float]:
        store = PostgresPredictionStore(database)
        await store.save(answers, actor="a", action="predict", request_ids=["r"] * len(answers))
        week = day_number(MONDAY)
        found = await MonitoringRepository(database).served_scores(
            from_week=week, to_week=week, as_of=as_of, versions=[VERSION]
        )
        return found.risk_score.tolist()

    return world.run(work)


def test_of_those_made_in_time_the_latest_counts(world: World) -> None:
    assert served(world, (SPOKEN_FROM, 0.1), (SPOKEN_FROM + timedelta(days=2), 0.2)) == [0.2]


def test_a_score_computed_afterwards_neither_counts_nor_replaces_what_was_served(world: World) -> None:
    afterwards = SPOKEN_FROM + timedelta(days=7)
    assert served(world, (afterwards, 0.9)) == []
    assert served(world, (SPOKEN_FROM, 0.1), (afterwards, 0.9)) == [0.1]


def test_what_was_made_after_the_look_is_not_seen_by_it(world: World) -> None:
    later = SPOKEN_FROM + timedelta(days=3)
    made = ((SPOKEN_FROM, 0.1), (later, 0.9))
    assert served(world, *made, as_of=later - timedelta(seconds=1)) == [0.1]
    assert served(world, *made, as_of=later) == [0.9]
