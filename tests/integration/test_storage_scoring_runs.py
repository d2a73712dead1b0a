"""Scoring runs in the store: a chunk is stored once, whoever stores it, and a run is found again or not."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TypeVar

import numpy as np
import pytest

from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.weeks import day_number
from edupulse_ml.storage.scoring_runs import (
    INSUFFICIENT,
    Chunk,
    KeyedRows,
    Origin,
    ScoredRows,
    ScoringKind,
    ScoringRun,
    ScoringRunStore,
    ScoringTotals,
)
from tests.fakes.store_world import NOW, World

T = TypeVar("T")
ORIGIN = Origin("p1", "job:score", "score")
KIND = ScoringKind(ModelVersion("7"), "abc", "", date(2025, 5, 26), date(2025, 6, 2), follows_clock=True)


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"students": [{"student_id": f"s{number}"} for number in range(5)]})
    return world


def run(world: World, work: Callable[[ScoringRunStore], Awaitable[T]]) -> T:
    return world.run(lambda database: work(ScoringRunStore(database)))


async def begin(runs: ScoringRunStore, kind: ScoringKind = KIND) -> tuple[ScoringRun, list[Chunk]]:
    plan = await runs.plan(students_per_chunk=2)
    return await runs.begin(kind, plan, as_of=NOW, started_at=NOW), plan


async def save(runs: ScoringRunStore, begun: ScoringRun, chunk: Chunk) -> bool:
    keys = await runs.keys_between(chunk)
    n = len(keys)
    rows = ScoredRows(
        category=np.array([3, INSUFFICIENT][:n], np.int8),
        feature_week=np.full(n, day_number(date(2025, 5, 26)), np.int32),
        risk_score=np.array([0.75, 0.1][:n]),
        risk_60plus=np.array([0.5, 0.1][:n]),
        coverage=np.array([[1.0, 0.5, 0.0], [0.1, 0.1, 0.1]][:n]),
        weeks=np.array([20, 2][:n], np.int32),
    )
    return await runs.save_chunk(begun, chunk, KeyedRows(keys, rows), origin=ORIGIN, created_at=NOW)


def test_all_students_are_planned_in_ranges_of_keys(world: World) -> None:
    plan = run(world, lambda runs: runs.plan(students_per_chunk=2))
    keys = world.values("SELECT student_key FROM students ORDER BY student_key")
    assert [(chunk.first, chunk.last, chunk.students) for chunk in plan] == [
        (keys[0], keys[1], 2),
        (keys[2], keys[3], 2),
        (keys[4], keys[4], 1),
    ]
    assert len({chunk.name for chunk in plan}) == 3


def test_a_chunk_is_stored_once_even_by_two_at_the_same_time(world: World) -> None:
    async def work(runs: ScoringRunStore) -> None:
        begun, plan = await begin(runs)
        outcomes = await asyncio.gather(*(save(runs, begun, plan[0]) for _ in range(3)))
        assert sorted(outcomes) == [False, False, True]
        assert await save(runs, begun, plan[0]) is False
        assert await runs.missing(begun) == plan[1:]
        assert await runs.totals(begun) == ScoringTotals(scored=1, insufficient=1, students=2)
        with pytest.raises(ConflictError, match="lacks chunks"):
            await runs.finish(begun, finished_at=NOW)
        for chunk in plan[1:]:
            assert await save(runs, begun, chunk)
        assert await runs.finish(begun, finished_at=NOW) == ScoringTotals(scored=3, insufficient=2, students=5)
        found = await runs.find(KIND)
        assert found is not None
        assert (found.run_id, found.finished_at) == (begun.run_id, NOW)

    run(world, work)
    assert world.values("SELECT count(*) FROM predictions") == [3]
    assert world.rows("SELECT outcome, count(*) AS n FROM audit_log GROUP BY 1 ORDER BY 1") == [
        {"outcome": "insufficient_data", "n": 2},
        {"outcome": "scored", "n": 3},
    ]
    assert world.values(
        "SELECT count(*) FROM audit_log JOIN predictions USING (prediction_id, student_key)"
        " WHERE request_id = (SELECT run_id::text FROM scoring_runs)"
    ) == [3]


def test_a_stored_row_says_what_was_scored(world: World) -> None:
    async def work(runs: ScoringRunStore):
        begun, plan = await begin(runs)
        for chunk in plan:
            await save(runs, begun, chunk)
        other, _ = await begin(runs)
        assert await runs.highest(other, limit=9) == []
        return await runs.highest(begun, limit=2)

    first, second = run(world, work)
    assert (first.student_id, second.student_id) == ("s0", "s2")
    assert (first.risk_score, first.risk_60plus, first.category) == (0.75, 0.5, "critical")
    assert (first.as_of, first.created_at, first.feature_week) == (NOW, NOW, date(2025, 5, 26))
    assert (first.model_version, first.policy_version) == ("7", "p1")
    assert (first.coverage.attendance, first.coverage.course, first.coverage.discipline) == (1.0, 0.5, 0.0)
    assert first.coverage.weeks == 20


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({}, True),
        ({"as_of_day": date(2025, 6, 3)}, True),
        ({"as_of_day": date(2025, 6, 3), "follows_clock": False}, False),
        ({"model_version": ModelVersion("8")}, False),
        ({"contract_fingerprint": "x"}, False),
        ({"source": "folder"}, False),
        ({"feature_week": date(2025, 6, 2)}, False),
    ],
)
def test_an_unfinished_run_is_found_by_what_it_scores(world: World, other: dict, is_same) -> None:
    async def work(runs: ScoringRunStore) -> bool:
        begun, _ = await begin(runs)
        found = await runs.find(replace(KIND, **other))
        return found is not None and found.run_id == begun.run_id

    assert run(world, work) is is_same


def test_a_finished_run_counts_on_its_day_and_until_the_next_import(world: World) -> None:
    async def work(runs: ScoringRunStore) -> None:
        begun, plan = await begin(runs)
        for chunk in plan:
            await save(runs, begun, chunk)
        await runs.finish(begun, finished_at=NOW + timedelta(minutes=1))
        assert await runs.find(KIND) is not None
        assert await runs.find(replace(KIND, as_of_day=date(2025, 6, 3))) is None

    run(world, work)
    world.load({"students": [{"student_id": "s9"}]})
    assert run(world, lambda runs: runs.find(KIND)) is None


def test_the_version_that_the_district_was_last_scored_with(world: World) -> None:
    async def score(runs: ScoringRunStore, finished_minutes: float | None, **other) -> None:
        begun, plan = await begin(runs, replace(KIND, **other))
        for chunk in plan:
            await save(runs, begun, chunk)
        if finished_minutes is not None:
            await runs.finish(begun, finished_at=NOW + timedelta(minutes=finished_minutes))

    async def work(runs: ScoringRunStore) -> list[str | None]:
        await score(runs, 1, model_version=ModelVersion("7"))
        await score(runs, 3, model_version=ModelVersion("8"))
        await score(runs, 4, model_version=ModelVersion("9"), source="folder", follows_clock=False)
        await score(runs, 5, model_version=ModelVersion("9"), follows_clock=False)
        await score(runs, None, model_version=ModelVersion("9"))
        return [await runs.version_scored(before=NOW + timedelta(minutes=minutes)) for minutes in (1, 2, 9)]

    assert run(world, work) == [None, "7", "8"]
    assert run(World(world.urls, district="other"), lambda runs: runs.version_scored(before=NOW)) is None


def test_another_district_finds_no_run(world: World) -> None:
    run(world, begin)
    assert run(World(world.urls, district="other"), lambda runs: runs.find(KIND)) is None
