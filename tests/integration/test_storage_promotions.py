"""Decisions on candidates are kept, dated and audited; one at a time."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.errors import StatementFailedError
from edupulse_ml.storage.promotions import Decision, PromotionRepository, PromotionUnderWayError
from tests.fakes.store_world import SCHOOLS, STUDENTS, World


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


def with_promotions(world: World, work):
    return world.run(lambda database: work(PromotionRepository(database, clock=world.clock)))


def decision(kind="promotion", before: str | None = "1", after: str = "2", **rest) -> Decision:
    return Decision(kind, "ada", ModelVersion(before) if before else None, ModelVersion(after), **rest)


def test_a_decision_is_kept_and_audited_before_anything_moves(world) -> None:
    async def work(promotions: PromotionRepository):
        decided = await promotions.decide(decision(policy_version="1", figures={"auc": 0.8}))
        number = decided.promotion_id
        (before,) = await promotions.latest(limit=5)
        await promotions.moved(number)
        (after,) = await promotions.latest(limit=5)
        with pytest.raises(ConflictError):
            await promotions.moved(number)
        assert before == decided
        return number, before, after

    number, before, after = with_promotions(world, work)
    assert (before.kind, before.decided_by, before.from_version, before.to_version) == ("promotion", "ada", "1", "2")
    assert before.figures == {"auc": 0.8}
    assert before.moved_at is None
    assert after.moved_at == world.clock.now()
    assert world.rows("SELECT actor, action, outcome, request_id FROM audit_log") == [
        {"actor": "ada", "action": "promote", "outcome": "promotion", "request_id": str(number)}
    ]


@pytest.mark.parametrize("kind", ["override", "rollback"])
def test_an_override_and_a_rollback_without_a_reason_are_refused(world, kind) -> None:
    with pytest.raises(StatementFailedError):
        with_promotions(world, lambda promotions: promotions.decide(decision(kind)))
    assert world.values("SELECT count(*) FROM audit_log") == [0]


def test_a_decision_is_never_rewritten(world) -> None:
    with_promotions(world, lambda promotions: promotions.decide(decision("refusal")))
    for statement in ("UPDATE promotions SET decided_by = 'eve'", "DELETE FROM promotions"):

        async def forge(database: Database, statement=statement) -> None:
            async with database.connection() as connection:
                await connection.execute(statement)

        with pytest.raises(StatementFailedError):
            world.run(forge)


def test_locks_are_free_before_the_server_learns_that_their_connection_has_closed(world, monkeypatch) -> None:
    async def stays_open(connection: psycopg.AsyncConnection) -> None:
        del connection

    async def work(database: Database) -> bool:
        async with database.dedicated() as connection:
            await connection.execute("SELECT pg_advisory_lock(77)")
            monkeypatch.setattr(psycopg.AsyncConnection, "close", stays_open)
        monkeypatch.undo()
        async with database.connection() as next_one:
            cursor = await next_one.execute("SELECT pg_try_advisory_lock(77)")
            (free,) = await cursor.fetchone() or (False,)
        await connection.close()
        return free

    assert world.run(work)


def test_only_one_promotes_at_a_time_and_the_other_is_told(world) -> None:
    async def work() -> str:
        async with (
            Database(world.urls.app_url, district_id=world.district) as here,
            Database(world.urls.app_url, district_id=world.district) as there,
            Database(world.urls.app_url, district_id=DistrictId("elsewhere")) as elsewhere,
        ):
            first, second, third = (PromotionRepository(each, clock=world.clock) for each in (here, there, elsewhere))
            async with first.exclusive():
                with pytest.raises(PromotionUnderWayError) as told:
                    async with second.exclusive():
                        pass
                async with third.exclusive():
                    pass
            async with second.exclusive():
                return str(told.value)

    assert "under way" in asyncio.run(work())


def test_moves_are_the_decisions_after_which_the_champion_moved_oldest_first(world) -> None:
    async def work(promotions: PromotionRepository):
        for made in (
            decision(before=None, after="1"),
            decision(before="1", after="2"),
            decision("rollback", before="2", after="1", reason="worse"),
        ):
            world.clock.advance(timedelta(hours=1))
            await promotions.moved((await promotions.decide(made)).promotion_id)
        await promotions.decide(decision(before="1", after="3"))  # killed before it moved
        await promotions.decide(decision("refusal", before="1", after="4"))
        return [(move.kind, move.from_version, move.to_version) for move in await promotions.moves()]

    assert with_promotions(world, work) == [
        ("promotion", None, "1"),
        ("promotion", "1", "2"),
        ("rollback", "2", "1"),
    ]
