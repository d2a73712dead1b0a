"""Feedback is kept in versions, all or nothing, audited, and read as it was known at a moment."""

import time
import uuid
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from edupulse_ml.core.feedback import (
    OUTCOME_WORDS,
    FeedbackBusyError,
    FeedbackConflictError,
    FeedbackProblem,
    FeedbackRefusedError,
    FlagFeedback,
    InterventionFeedback,
    OutcomeFeedback,
    UnknownInFeedbackError,
    UnusableFeedbackError,
)
from edupulse_ml.core.ids import DistrictId, ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import Coverage, Prediction, Reason
from edupulse_ml.core.weeks import NEVER, day_number
from edupulse_ml.storage.connection import Database, district_conninfo
from edupulse_ml.storage.feedback import FeedbackRepository
from edupulse_ml.storage.predictions import PostgresPredictionStore
from edupulse_ml.storage.records import PostgresRecordReader
from edupulse_ml.storage.training_feedback import FeedbackReader
from tests.fakes.store_world import NOW, SCHOOLS, STUDENTS, World

LONG_AGO, YESTERDAY = datetime(2025, 3, 1, 12, tzinfo=UTC), NOW - timedelta(days=1)
PREDICTION = PredictionId(str(uuid.UUID(int=7)))


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


def left(key: str = "o1", student: str = "s1", day: date = date(2025, 2, 3), **rest) -> OutcomeFeedback:
    said = {"outcome": "left", "given_by": "registrar"} | rest
    return OutcomeFeedback(key=key, student_id=StudentId(student), happened_on=day, **said)


def helped(key: str = "i1", student: str = "s1", **rest) -> InterventionFeedback:
    said = {"intervention": "tutoring", "given_by": "ms-r", "started_on": date(2025, 2, 10)} | rest
    return InterventionFeedback(key=key, student_id=StudentId(student), **said)


def opinion(key: str = "f1", student: str = "s1", **rest) -> FlagFeedback:
    said = {"verdict": "wrong", "given_by": "ms-r", "prediction_id": PREDICTION} | rest
    return FlagFeedback(key=key, student_id=StudentId(student), **said)


def give(world: World, *statements, at: datetime = NOW):
    world.clock.moment = at

    async def work(database: Database):
        return await FeedbackRepository(database, clock=world.clock).give(statements, actor="tok", request_id="r1")

    return world.run(work)


def outcomes(world: World, as_of: datetime) -> list[tuple[str, int, int]]:
    """Word, day and until when it was known, of the outcomes of s1 known then."""

    async def work(database: Database):
        keys = await PostgresRecordReader(database).find_students([StudentId("s1")])
        return await FeedbackReader(database).outcomes_of(list(keys.values()), as_of=as_of)

    found = world.run(work)
    assert not found.student.any()
    columns = (found.outcome, found.day, found.superseded_day)
    return [(OUTCOME_WORDS[word], int(day), int(until)) for word, day, until in zip(*columns, strict=True)]


def save_prediction(world: World, *, reasons: tuple[Reason, ...] | None = None) -> None:
    prediction = Prediction(
        PREDICTION, StudentId("s1"), NOW, NOW, date(2025, 5, 26), ModelVersion("1"), "p", 0.5, 0.4, "high",
        Coverage(1, 1, 1, 20), reasons,
    )  # fmt: skip

    async def work(database: Database) -> None:
        await PostgresPredictionStore(database).save([prediction], actor="a", action="predict", request_ids=["r"])

    world.run(work)


def test_the_same_statement_twice_is_one_and_a_changed_one_supersedes(world) -> None:
    assert give(world, left(recorded_at=LONG_AGO)) == ["created"]
    assert give(world, left(recorded_at=LONG_AGO)) == ["unchanged"]
    assert give(world, left(outcome="stayed")) == ["corrected"]
    assert [tuple(row.values()) for row in world.rows(
        "SELECT value, recorded_at, superseded_at FROM feedback ORDER BY recorded_at"
    )] == [("left", LONG_AGO, NOW), ("stayed", NOW, None)]  # fmt: skip
    day, known = day_number(date(2025, 2, 3)), day_number(date(2025, 6, 2))
    assert outcomes(world, LONG_AGO - timedelta(seconds=1)) == []
    assert outcomes(world, YESTERDAY) == [("left", day, NEVER)], "not yet corrected"
    assert sorted(outcomes(world, NOW)) == [("left", day, known), ("stayed", day, NEVER)]


def test_a_retraction_leaves_nothing_to_be_learned(world) -> None:
    give(world, left(recorded_at=LONG_AGO))
    assert give(world, left(retracted=True)) == ["corrected"]
    assert outcomes(world, YESTERDAY) == [("left", day_number(date(2025, 2, 3)), NEVER)]
    assert outcomes(world, NOW) == [("left", day_number(date(2025, 2, 3)), day_number(date(2025, 6, 2)))]


def test_support_is_read_with_its_days(world) -> None:
    give(world, helped(), helped("i2", "s2", ended_on=date(2025, 3, 1)))

    async def work(database: Database):
        keys = await PostgresRecordReader(database).find_students([StudentId("s2"), StudentId("s1")])
        return await FeedbackReader(database).interventions_of(
            [keys[StudentId("s2")], keys[StudentId("s1")]], as_of=NOW
        )

    found = world.run(work)
    rows = sorted(zip(found.student.tolist(), found.start_day.tolist(), found.end_day.tolist(), strict=True))
    start = day_number(date(2025, 2, 10))
    assert rows == [(0, start, day_number(date(2025, 3, 1))), (1, start, NEVER)]


def test_one_bad_statement_keeps_all_from_being_stored(world) -> None:
    with pytest.raises(UnknownInFeedbackError) as caught:
        give(world, left(), left("o2", "nobody"), opinion())
    assert [(p.position, p.field, p.status) for p in caught.value.problems] == [
        (1, "student_id", 404),
        (2, "prediction_id", 404),
    ]
    assert "nobody" not in str(caught.value)
    assert world.values("SELECT count(*) FROM feedback") == [0]
    assert world.values("SELECT count(*) FROM audit_log") == [0]


@pytest.mark.parametrize(
    ("statement", "kind", "field"),
    [
        (left(student="s2"), FeedbackConflictError, "key"),
        (helped("o1"), FeedbackConflictError, "key"),
        (left(outcome="stayed", recorded_at=LONG_AGO), FeedbackConflictError, "recorded_at"),
        (left("o2", recorded_at=NOW + timedelta(days=1)), UnusableFeedbackError, "recorded_at"),
        (left("o2", day=date(2025, 6, 9)), UnusableFeedbackError, "happened_on"),
        (helped("o2", started_on=date(2025, 6, 9)), UnusableFeedbackError, "started_on"),
    ],
)
def test_what_cannot_be_taken_names_its_place(world, statement, kind, field) -> None:
    give(world, left(recorded_at=YESTERDAY))
    with pytest.raises(kind) as caught:
        give(world, statement)
    assert [problem.field for problem in caught.value.problems] == [field]
    assert world.values("SELECT count(*) FROM feedback") == [1]


def test_a_key_stands_once_in_a_request(world) -> None:
    with pytest.raises(FeedbackRefusedError):
        give(world, left(), left(outcome="stayed"))


def test_an_opinion_is_about_a_prediction_of_the_student_and_reaches_no_training(world) -> None:
    save_prediction(world, reasons=(Reason("absences rising", "Missed 6.", 0.8), Reason("missing work", "5.", 0.2)))
    with pytest.raises(UnknownInFeedbackError):
        give(world, opinion(student="s2"))
    assert give(world, opinion()) == ["created"]
    assert world.values("SELECT count(*) FROM training_feedback") == [0]

    async def work(database: Database):
        reader = FeedbackReader(database)
        return await reader.opinions(since=LONG_AGO, as_of=NOW), await reader.opinions(since=LONG_AGO, as_of=YESTERDAY)

    (found,), before = world.run(work)
    assert (found.verdict, found.category, found.reasons) == ("wrong", "high", ("absences rising", "missing work"))
    assert not before


def test_who_gave_what_is_audited_also_when_nothing_changed(world) -> None:
    give(world, left(), helped())
    give(world, left())
    rows = world.rows("SELECT actor, action, outcome, request_id, student_key IS NOT NULL AS named FROM audit_log")
    assert {(row["actor"], row["action"], row["request_id"], row["named"]) for row in rows} == {
        ("tok", "feedback", "r1", True)
    }
    assert sorted(str(row["outcome"]) for row in rows) == [
        "intervention created",
        "outcome created",
        "outcome unchanged",
    ]


def test_a_session_takes_the_good_and_tells_of_the_bad(world) -> None:
    async def work(database: Database):
        async with FeedbackRepository(database, clock=world.clock).importing(actor="x", request_id="r") as session:
            return await session.take([left(), left("o2", "nobody")])

    good, bad = world.run(work).results
    assert good == "created"
    assert isinstance(bad, FeedbackProblem)
    assert world.values("SELECT feedback_key FROM feedback") == ["o1"]


def test_a_request_does_not_wait_for_the_end_of_an_import(world) -> None:
    async def work(database: Database) -> float:
        feedback = FeedbackRepository(database, clock=world.clock, lock_wait_s=0.2)
        async with feedback.importing(actor="x", request_id="r"):
            started = time.perf_counter()
            with pytest.raises(FeedbackBusyError, match="import feedback"):
                await feedback.give([left()], actor="tok", request_id="r1")
            waited_s = time.perf_counter() - started
        await feedback.give([left()], actor="tok", request_id="r1")
        return waited_s

    assert world.run(work) < 5
    assert world.values("SELECT feedback_key FROM feedback") == ["o1"]


def test_a_bounded_wait_stays_in_its_transaction(world) -> None:
    async def work(database: Database):
        await FeedbackRepository(database, clock=world.clock).give([left()], actor="tok", request_id="r1")
        async with database.connection() as connection:
            return await (await connection.execute("SHOW lock_timeout")).fetchone()

    assert world.run(work) == ("0",)


def test_versions_can_be_closed_and_not_rewritten(world) -> None:
    give(world, left())
    with psycopg.connect(district_conninfo(world.urls.app_url, DistrictId("demo")), autocommit=True) as connection:
        for statement in ("UPDATE feedback SET value = 'stayed'", "DELETE FROM feedback"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with psycopg.connect(district_conninfo(world.urls.app_url, DistrictId("other")), autocommit=True) as connection:
        for relation in ("feedback", "training_feedback"):
            assert connection.execute(f"SELECT count(*) FROM {relation}").fetchone() == (0,)
