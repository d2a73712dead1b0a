import asyncio

import numpy as np
import pytest

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.sequences import PAD
from edupulse_ml.storage.features import PostgresFeatureStore
from tests.fakes.blocks import block_of
from tests.fakes.record_tables import chunk
from tests.fakes.store_world import SCHOOLS, STUDENTS, World
from tests.fakes.stores import FakeFeatureStore

CONTRACT = current_contract()
# Mondays from 2024-12-30 on.
W0, W1, W2, W3 = (20087 + 7 * number for number in range(4))
BLOCK = block_of([[W0, W1, W2], [W1]], seed=3)


class Fake:
    def __init__(self) -> None:
        self.store = FakeFeatureStore(CONTRACT.fingerprint)

    def put(self, *, through_week: int) -> None:
        for position, key in enumerate((1, 2)):
            self.store.put(key, BLOCK.select([position]), through_week=through_week)

    def touch(self, key: int, *, week: int) -> None:
        self.store.touch(key, from_week=week)

    def windows(self, keys, **arguments):
        return asyncio.run(self.store.latest_windows(keys, **arguments))


class Real:
    def __init__(self, urls) -> None:
        self.world = World(urls)
        self.world.load({"schools": SCHOOLS, "students": STUDENTS})

    def put(self, *, through_week: int) -> None:
        async def work(database):
            store = PostgresFeatureStore(database)
            pending = await store.pending_refresh(contract=CONTRACT, through_week=through_week, limit=10)
            await store.write_block([1, 2], BLOCK, CONTRACT, through_week=through_week)
            await store.mark_refreshed(pending, contract=CONTRACT, through_week=through_week)

        self.world.run(work)

    def touch(self, key: int, *, week: int) -> None:
        day = np.datetime64(week, "D").astype(str)
        row = {"student_id": f"s{key}", "date": day, "status": "present", "recorded_at": f"{day}T20:00:00+00:00"}
        assert chunk("attendance_records", [row]).num_rows == 1
        self.world.load_one("attendance_records", row)

    def windows(self, keys, **arguments):
        return self.world.run(lambda database: PostgresFeatureStore(database).latest_windows(keys, **arguments))


@pytest.fixture(params=["fake", "postgresql"])
def side(request):
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("database_urls"))


def ask(side, keys=(1, 2), *, through_week=W2, window_weeks=20, fingerprint=CONTRACT.fingerprint):
    return side.windows(
        list(keys), through_week=through_week, window_weeks=window_weeks, contract_fingerprint=fingerprint
    )


def test_windows_are_left_aligned_and_in_the_order_asked(side):
    side.put(through_week=W2)
    block = ask(side, keys=(2, 1)).block
    assert block.week.tolist() == [[W1, PAD, PAD], [W0, W1, W2]]
    for name, values in vars(BLOCK).items():
        np.testing.assert_array_equal(getattr(block, name), values[[1, 0]])
        assert getattr(block, name).dtype == values.dtype


def test_the_latest_weeks_of_a_short_window(side):
    side.put(through_week=W2)
    assert ask(side, window_weeks=2).block.week.tolist() == [[W1, W2], [W1, PAD]]


def test_weeks_after_the_one_asked_for_are_not_shown(side):
    side.put(through_week=W2)
    stored = ask(side, through_week=W0)
    assert stored.block.week.tolist() == [[W0], [PAD]]
    assert list(stored.is_current) == [True, True]


def test_an_unknown_key_or_contract_has_no_steps(side):
    side.put(through_week=W2)
    unknown = ask(side, keys=(1, 10**6))
    assert unknown.block.n_steps.tolist() == [3, 0]
    assert list(unknown.is_current) == [True, False]
    other = ask(side, fingerprint="0" * 12)
    assert other.block.n_steps.tolist() == [0, 0]
    assert list(other.is_current) == [False, False]


def test_a_week_not_yet_written_is_not_current(side):
    side.put(through_week=W2)
    assert list(ask(side, through_week=W3).is_current) == [False, False]


def test_an_import_makes_its_student_outdated_from_its_week_on(side):
    side.put(through_week=W2)
    side.touch(2, week=W1)
    assert list(ask(side).is_current) == [True, False]
    assert list(ask(side, through_week=W0).is_current) == [True, True]


def test_nobody_asked_for(side):
    stored = ask(side, keys=())
    assert stored.block.n_students == 0
    assert list(stored.is_current) == []
