import asyncio

import numpy as np
import pytest

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.sequences import PAD, last_windows
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
        self.store = FakeFeatureStore(
            CONTRACT.fingerprint, {StudentId("s1"): StudentKey(1), StudentId("s2"): StudentKey(2)}
        )

    def put(self, *, through_week: int) -> None:
        for position, key in enumerate((1, 2)):
            self.store.put(key, BLOCK.select([position]), through_week=through_week)

    def touch(self, key: int, *, week: int) -> None:
        self.store.touch(key, from_week=week)

    def windows(self, keys, **arguments):
        return asyncio.run(self.store.latest_windows(keys, **arguments))

    def find(self, student_ids, **arguments):
        return asyncio.run(self.store.find_windows(student_ids, **arguments))


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

    def find(self, student_ids, **arguments):
        return self.world.run(lambda database: PostgresFeatureStore(database).find_windows(student_ids, **arguments))


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


def find(side, *student_ids, through_week=W2, contract=CONTRACT):
    return side.find([StudentId(name) for name in student_ids], through_week=through_week, contract=contract)


def test_found_windows_are_those_of_the_stored_weeks(side):
    side.put(through_week=W2)
    found = find(side, "s2", "ghost", "s1")
    assert found.keys.tolist() == [2, 0, 1]
    assert found.is_current.tolist() == found.has_window.tolist() == [True, False, True]
    expected = last_windows(BLOCK.select([1, 0]), window_weeks=CONTRACT.window_weeks)
    for name, values in vars(expected).items():
        actual = getattr(found.batch, name)
        np.testing.assert_array_equal(actual, values, err_msg=name)
        assert actual.dtype == values.dtype


def test_found_windows_of_a_week_not_yet_written_or_another_contract(side):
    side.put(through_week=W2)
    for found in (find(side, "s1", through_week=W3), find(side, "s1", contract=current_contract(window_weeks=10))):
        assert found.keys.tolist() == [1]
        assert not found.is_current.any()
        assert not found.has_window.any()
        assert found.batch.n_examples == 0


def test_found_windows_of_an_earlier_week_are_those_that_end_before_it(side):
    side.put(through_week=W3)
    found = find(side, "s1", "s2", through_week=W1)
    assert found.is_current.tolist() == [True, True]
    assert found.has_window.tolist() == [False, True]
    assert found.batch.week[:, :2].tolist() == [[W1, PAD]]
    assert find(side, "s1", through_week=W2).has_window.tolist() == [True]


def test_found_windows_give_way_to_an_import(side):
    side.put(through_week=W3)
    side.touch(2, week=W2)
    found = find(side, "s1", "s2", through_week=W3)
    assert found.is_current.tolist() == found.has_window.tolist() == [True, False]
    assert found.batch.week[:, 0].tolist() == [W0]
    assert find(side, "s2", through_week=W1).has_window.tolist() == [True]


def test_nobody_to_find(side):
    found = find(side)
    assert (len(found.keys), found.batch.n_examples) == (0, 0)
