"""Audit attributes reach the history beside the features: one value per student, in the block's order."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edupulse_ml.core.tables import AUDIT_ATTRIBUTES
from jobs.experiment import History
from jobs.history import load_history
from jobs.materialise import materialise_district
from jobs.wiring import open_context
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import ScoredDistrict, make_district
from tests.fakes.store_world import NOW

STUDENTS = 24


@pytest.fixture
def district(database_urls, redis_server, tmp_path: Path) -> ScoredDistrict:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    made = make_district(database_urls, redis_server.url, uri=uri, home=tmp_path, students=STUDENTS)
    sexes = [{"student_id": f"s{n:03d}", "sex": "female" if n % 3 else "male"} for n in range(0, STUDENTS, 2)]
    made.world.load_one("students", *sexes)
    return made


def read(district: ScoredDistrict) -> tuple[History, list[str]]:
    async def work() -> tuple[History, list[str]]:
        await materialise_district(district.settings, as_of=NOW, clock=FixedClock(NOW), console=Console(quiet=True))
        async with open_context(district.settings, clock=FixedClock(NOW)) as context:
            keys = await context.reader.all_student_keys()
            ids = await context.reader.student_ids(keys)
            return await load_history(context, as_of=NOW, on_share=lambda _: None), [str(name) for name in ids]

    return asyncio.run(work())


def test_each_student_has_their_own_value_or_none(district: ScoredDistrict) -> None:
    history, names = read(district)
    assert set(history.audit) == set(AUDIT_ATTRIBUTES)
    assert history.block.n_students == len(names) == STUDENTS
    numbers = [int(name[1:]) for name in names]
    expected = [None if n % 2 else "female" if n % 3 else "male" for n in numbers]
    assert list(history.audit["sex"]) == expected
    assert all(value is None for value in history.audit["homeless"])
    assert np.isfinite(history.block.values).any()
