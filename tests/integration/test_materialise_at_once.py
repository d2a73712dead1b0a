"""Two materialise runs and an import between them: what the later run computed stays."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
from rich.console import Console

from edupulse_ml.core.contract import current_contract
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.features import PostgresFeatureStore
from edupulse_ml.storage.loading import RecordLoader
from edupulse_ml.storage.records import PostgresRecordReader
from jobs.materialise import materialise_pending
from tests.fakes.record_tables import chunk
from tests.fakes.store_world import SCHOOLS, World
from tests.fakes.stores import FakeAnswerCache

CONTRACT = current_contract()
AS_OF = datetime(2025, 2, 10, 12, tzinfo=UTC)
DAYS = [date(2025, 1, 6) + timedelta(days=7 * week + day) for week in range(4) for day in range(5)]
CORRECTION = {
    "student_id": "s1",
    "date": "2025-01-08",
    "status": "absent_unexcused",
    "recorded_at": "2025-01-10T12:00:00+00:00",
}


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    calendar = [
        {"school_id": "north", "date": str(day), "is_instructional": True, "term_id": "t", "school_year": 2024}
        for day in DAYS
    ]
    world.load(
        {
            "schools": SCHOOLS,
            "calendar": calendar,
            "students": [{"student_id": "s1"}],
            "enrollments": [{"student_id": "s1", "school_id": "north", "grade_level": 9, "entry_date": str(DAYS[0])}],
            "attendance_records": [{"student_id": "s1", "date": str(day), "status": "present"} for day in DAYS],
        }
    )
    return world


class HeldReader:
    """Lets something else happen between the first reading of records and what is done with them."""

    def __init__(self, reader: PostgresRecordReader, meanwhile) -> None:
        self._reader = reader
        self._meanwhile = meanwhile

    def __getattr__(self, name):
        return getattr(self._reader, name)

    async def records_of(self, keys, *, as_of):
        records = await self._reader.records_of(keys, as_of=as_of)
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile()
        return records


def context(database: Database, *, meanwhile=None):
    return SimpleNamespace(
        reader=HeldReader(PostgresRecordReader(database), meanwhile),
        features=PostgresFeatureStore(database),
        cache=FakeAnswerCache(),
        contract=CONTRACT,
    )


def run(context):
    return materialise_pending(context, as_of=AS_OF, console=Console(quiet=True))


def stored(world: World) -> list[object]:
    return world.values("SELECT feature_values::text FROM student_features ORDER BY week")


def test_an_older_block_never_overwrites_a_newer_one(world):
    async def both(database):
        second: list[asyncio.Task] = []

        async def import_and_start_another_run():
            async with RecordLoader(database, clock=world.clock).session("test") as session:
                await session.load("attendance_records", "a.csv", [chunk("attendance_records", [CORRECTION])])
            second.append(asyncio.create_task(run(context(database))))
            await asyncio.wait(second, timeout=1)

        await run(context(database, meanwhile=import_and_start_another_run))
        return await asyncio.wait_for(second[0], 20)

    assert world.run(both).students == 1
    assert world.values("SELECT count(*) FROM feature_refresh_queue") == [0]
    left = stored(world)
    world.run(lambda database: materialise_pending(context(database), as_of=AS_OF, console=Console(), every=True))
    assert stored(world) == left
