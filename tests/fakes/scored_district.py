"""A small district in real stores, with a registered champion, for whole-district jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType

import torch

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibration import Calibrator
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW, World
from tests.fakes.training_data import make_training_data

FIRST, LAST = date(2025, 1, 6), date(2025, 5, 30)
SCHOOL_DAYS = [
    FIRST + timedelta(days=offset)
    for offset in range((LAST - FIRST).days + 1)
    if (FIRST + timedelta(days=offset)).weekday() < 5
]


def make_artifact(*, seed: int = 3) -> ModelArtifact:
    """An untrained network with the norms of made-up students."""
    torch.manual_seed(seed)
    tasks = (risk_task(), EARLY_TASK)
    return ModelArtifact(
        network=RiskNet(RiskNetConfig(hidden=8, attention=8, fusion=16)).eval(),
        norms=InputNorms.fit(make_training_data(n_students=80, n_weeks=24, seed=4)),
        calibrators={task.name: Calibrator("platt", 1.0, 0.0) for task in tasks},
        policy=CategoryPolicy("1", 0.1, 0.2, 0.4),
        contract=current_contract(window_weeks=20),
        task=tasks[0],
        tasks=tasks,
    )


def register_champion(uri: str, folder: Path, *, tags: Mapping[str, str] = MappingProxyType({})) -> None:
    """Register `make_artifact()` as the champion of the district `demo`."""
    from edupulse_ml.registry.models import ModelRegistry, model_name
    from edupulse_ml.registry.tracking import tracked_run

    make_artifact().save(folder / "artifact")
    registry = ModelRegistry(uri, name=model_name(DistrictId("demo")), cache_dir=folder / "models")
    with tracked_run(uri, experiment="e", run_name="r", artifact_root=folder / "runs", clock=FixedClock(NOW)) as run:
        version = registry.register(folder / "artifact", run, tags=tags)
    registry.set_champion(version)


def records(students: int) -> dict[str, Sequence[dict[str, object]]]:
    """Students s000, s001, ... who miss every (position + 2)th day; every tenth has entered eight school days ago,
    which is too little to be scored, and every eleventh (from s005) has left.
    """
    names = [f"s{number:03d}" for number in range(students)]
    is_new = [number % 10 == 9 for number in range(students)]
    has_left = [number % 11 == 5 for number in range(students)]
    return {
        "schools": [{"school_id": "north"}],
        "calendar": [
            {
                "school_id": "north",
                "date": day.isoformat(),
                "is_instructional": True,
                "term_id": "t",
                "school_year": 2024,
            }
            for day in SCHOOL_DAYS
        ],
        "students": [{"student_id": name} for name in names],
        "enrollments": [
            {
                "student_id": name,
                "school_id": "north",
                "grade_level": 9 + number % 4,
                "entry_date": (SCHOOL_DAYS[-8] if new else FIRST).isoformat(),
                "exit_date": "2025-04-01" if left and not new else None,
                "exit_code": "transfer_out" if left and not new else None,
            }
            for number, (name, new, left) in enumerate(zip(names, is_new, has_left, strict=True))
        ],
        "attendance_records": [
            {
                "student_id": name,
                "date": day.isoformat(),
                "status": "absent_unexcused" if position % (number + 2) == 0 else "present",
            }
            for number, (name, new) in enumerate(zip(names, is_new, strict=True))
            for position, day in enumerate(SCHOOL_DAYS[-8:] if new else SCHOOL_DAYS)
        ],
    }


@dataclass(frozen=True)
class ScoredDistrict:
    """The district and the settings that lead there."""

    world: World
    settings: Settings


def make_district(urls, redis_url: str, *, uri: str, home: Path, students: int) -> ScoredDistrict:
    """Load the records; `uri` and `home` are those of `register_champion`."""
    world = World(urls)
    world.load(records(students))
    settings = Settings(
        home=home, database_url=urls.app_url, redis_url=redis_url, mlflow_tracking_uri=uri, district="demo"
    )
    return ScoredDistrict(world, settings)
