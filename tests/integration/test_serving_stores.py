"""Serving over real PostgreSQL, Redis and MLflow, with a real network; no Ray."""

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from deployments.components import StandardComponents
from deployments.messages import Answer
from deployments.settings import AppArgs, complete
from edupulse_ml.config.settings import Settings
from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import DistrictId, StudentId
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.predictions import CategoryPolicy, InsufficientData, Prediction
from edupulse_ml.core.weeks import day_number
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibration import Calibrator
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.registry.models import ModelRegistry, model_name
from edupulse_ml.registry.tracking import tracked_run
from edupulse_ml.storage.features import PostgresFeatureStore
from features.compute import compute_features
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW, World
from tests.fakes.stored_serving import Opened, Place
from tests.fakes.training_data import make_training_data

T = TypeVar("T")
FIRST, LAST = date(2025, 1, 6), date(2025, 5, 30)
SCHOOL_DAYS = [
    FIRST + timedelta(days=offset)
    for offset in range((LAST - FIRST).days + 1)
    if (FIRST + timedelta(days=offset)).weekday() < 5
]
THROUGH_WEEK = day_number(date(2025, 5, 26))


def attendance(student: str, *, absent_every: int, days: list[date]) -> list[dict[str, object]]:
    return [
        {
            "student_id": student,
            "date": day.isoformat(),
            "status": "absent_unexcused" if position % absent_every == 0 else "present",
        }
        for position, day in enumerate(days)
    ]


def enrollment(student: str, entry: date) -> dict[str, object]:
    return {"student_id": student, "school_id": "north", "grade_level": 10, "entry_date": entry.isoformat()}


RECORDS = {
    "schools": [{"school_id": "north"}],
    "calendar": [
        {"school_id": "north", "date": d.isoformat(), "is_instructional": True, "term_id": "t", "school_year": 2024}
        for d in SCHOOL_DAYS
    ],
    "students": [{"student_id": name} for name in ("away", "there", "new")],
    "enrollments": [enrollment("away", FIRST), enrollment("there", FIRST), enrollment("new", SCHOOL_DAYS[-8])],
    "attendance_records": [
        *attendance("away", absent_every=2, days=SCHOOL_DAYS),
        *attendance("there", absent_every=50, days=SCHOOL_DAYS),
        *attendance("new", absent_every=9, days=SCHOOL_DAYS[-8:]),
    ],
}


def register_champion(uri: str, folder: Path) -> None:
    torch.manual_seed(3)
    tasks = (risk_task(), EARLY_TASK)
    artifact = ModelArtifact(
        network=RiskNet(RiskNetConfig(hidden=8, attention=8, fusion=16)).eval(),
        norms=InputNorms.fit(make_training_data(n_students=80, n_weeks=24, seed=4)),
        calibrators={task.name: Calibrator("platt", 1.0, 0.0) for task in tasks},
        policy=CategoryPolicy("1", 0.1, 0.2, 0.4),
        contract=current_contract(window_weeks=20),
        task=tasks[0],
        tasks=tasks,
    )
    artifact.save(folder / "artifact")
    registry = ModelRegistry(uri, name=model_name(DistrictId("demo")), cache_dir=folder / "models")
    with tracked_run(uri, experiment="e", run_name="r", artifact_root=folder / "runs", clock=FixedClock(NOW)) as run:
        version = registry.register(folder / "artifact", run, tags={})
    registry.set_champion(version)


@pytest.fixture(scope="module")
def registry_uri(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    register_champion(uri, folder)
    return uri, folder


@pytest.fixture
def place(database_urls, redis_server, registry_uri: tuple[str, Path]) -> Iterator[Place]:
    world = World(database_urls)
    world.load(RECORDS)
    uri, folder = registry_uri
    settings = Settings(
        home=folder,
        database_url=database_urls.app_url,
        redis_url=redis_server.url,
        mlflow_tracking_uri=uri,
        district="demo",
    )
    yield Place(world, complete(AppArgs(), settings))
    place_keys = [StudentId(name) for name in ("away", "there", "new")]

    async def forget(opened: Opened) -> None:
        await opened.stores.cache.drop(place_keys)

    Place(world, complete(AppArgs(), settings)).serve(forget)


def test_answers_come_from_records_and_are_stored_audited_and_cached(place: Place) -> None:
    async def work(opened: Opened) -> tuple[list[Answer], list[Answer], list[Prediction]]:
        first = await opened.ask("away", "nobody", "new", "there", "away")
        second = await opened.ask("away")
        assert opened.metrics.sources == {"cache": 0, "store": 0, "records": 3}
        history = await opened.scoring.history(StudentId("away"), limit=5, actor="token-1", request_id="h")
        return first, second, list(history)

    first, second, history = place.serve(work)
    assert [answer.status for answer in first] == ["scored", "unknown_student", "insufficient_data", "scored", "scored"]
    away, new = first[0], first[2]
    assert isinstance(away, Prediction)
    assert isinstance(new, InsufficientData)
    assert 0 <= away.risk_score <= 1
    assert (away.feature_week, away.coverage.weeks, away.model_version) == (date(2025, 5, 26), 20, "1")
    assert second == [away]
    assert history == [away]
    assert place.world.values("SELECT count(*) FROM predictions") == [2]
    outcomes = place.world.values("SELECT outcome FROM audit_log ORDER BY outcome")
    assert outcomes == ["insufficient_data", "read", *["scored"] * 4]


def test_materialised_weeks_give_the_same_score_as_computed_ones(place: Place) -> None:
    async def work(opened: Opened) -> list[Answer]:
        return await opened.ask("away", "there")

    async def materialise(opened: Opened) -> None:
        reader = opened.stores.reader
        key_of = await reader.find_students([StudentId("away"), StudentId("there")])
        keys = list(key_of.values())
        block = compute_features(await reader.records_of(keys, as_of=NOW), through_week=THROUGH_WEEK)
        features = opened.stores.features
        assert isinstance(features, PostgresFeatureStore)
        await features.write_block(keys, block, place.config.contract, through_week=THROUGH_WEEK)
        pending = await features.pending_refresh(contract=place.config.contract, through_week=THROUGH_WEEK, limit=10)
        done = [student for student in pending if student.student_key in keys]
        await features.mark_refreshed(done, contract=place.config.contract, through_week=THROUGH_WEEK)
        await opened.stores.cache.drop([StudentId("away"), StudentId("there")])

    async def again(opened: Opened) -> list[Answer]:
        answers = await opened.ask("away", "there")
        assert opened.metrics.sources == {"store": 2}
        return answers

    computed = place.serve(work)
    place.serve(materialise)
    stored = place.serve(again)
    for left, right in zip(computed, stored, strict=True):
        assert isinstance(left, Prediction)
        assert isinstance(right, Prediction)
        assert dataclasses.replace(left, prediction_id=right.prediction_id) == right


def test_an_import_that_drops_the_cache_changes_the_next_answer(place: Place) -> None:
    async def before(opened: Opened) -> list[Answer]:
        return await opened.ask("there")

    async def after(opened: Opened) -> list[Answer]:
        await opened.stores.cache.drop([StudentId("there")])
        return await opened.ask("there")

    (first,) = place.serve(before)
    place.world.load_one(
        "discipline_incidents",
        {
            "student_id": "there", "incident_id": "i1", "incident_date": "2025-05-19", "behavior_code": "fight",
            "is_objective": True, "severity": 4, "is_major": True, "action": "OSS", "action_start": "2025-05-20",
            "action_days": 3, "recorded_at": "2025-05-21T12:00:00+00:00",
        },
    )  # fmt: skip
    (second,) = place.serve(after)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert first.risk_score != second.risk_score


def test_servers_that_are_down_are_named_and_the_parts_open_all_the_same(place: Place) -> None:
    down = dataclasses.replace(
        place.config,
        database_url="postgresql://127.0.0.1:1/none",
        redis_url="unix:///nonexistent/r.sock",
    )

    components = StandardComponents()

    async def main() -> None:
        stores = await components.open_stores(down, FixedClock(NOW))
        try:
            for ping in (stores.ping, stores.cache.ping):
                with pytest.raises(DependencyDownError):
                    await ping()
        finally:
            await stores.close()

    asyncio.run(main())
