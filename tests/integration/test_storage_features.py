import asyncio
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import DependencyDownError, InvalidInputError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.sequences import PAD, FeatureBlock, last_windows
from edupulse_ml.core.weeks import day_number
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.features import PostgresFeatureStore
from tests.fakes.blocks import block_of
from tests.fakes.record_tables import parse
from tests.fakes.store_world import SCHOOLS, STUDENTS, World, counted_statements

CONTRACT = current_contract()
OTHER = current_contract(window_weeks=10)


def week(text: str) -> int:
    return day_number(parse("date", text))


W1, W2, W3, W4 = (week(text) for text in ("2024-12-23", "2024-12-30", "2025-01-06", "2025-01-13"))
BLOCK = block_of([[W1, W2, W3], [W2]], seed=1)
KEYS = [1, 2]


def same(left: FeatureBlock, right: FeatureBlock) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(vars(left).values(), vars(right).values(), strict=True)
    )


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


def with_store(world: World, work):
    return world.run(lambda database: work(PostgresFeatureStore(database)))


def write(world: World, block: FeatureBlock = BLOCK, *, keys=KEYS, contract=CONTRACT, through=W3) -> int:
    return with_store(world, lambda store: store.write_block(keys, block, contract, through_week=through))


def history(world: World, *, keys=KEYS, contract=CONTRACT, from_week=W1, to_week=W4) -> FeatureBlock:
    return with_store(
        world, lambda store: store.read_history(keys, contract=contract, from_week=from_week, to_week=to_week)
    )


def windows(world: World, *, keys=KEYS, through=W3, length=20, contract=CONTRACT):
    return with_store(
        world,
        lambda store: store.latest_windows(
            keys, through_week=through, window_weeks=length, contract_fingerprint=contract.fingerprint
        ),
    )


def refresh(world: World, *, through=W3, contract=CONTRACT, limit=100):
    """What a materialisation does to the queue."""

    async def work(store):
        pending = await store.pending_refresh(contract=contract, through_week=through, limit=limit)
        await store.mark_refreshed(pending, contract=contract, through_week=through)
        return pending

    return with_store(world, work)


def attendance(student: str, day: str, status: str = "present"):
    return {"student_id": student, "date": day, "status": status, "recorded_at": f"{day}T20:00:00+00:00"}


class TestBlocks:
    def test_what_was_written_is_read(self, world):
        assert write(world) == 4
        assert same(history(world), BLOCK)

    def test_in_the_order_asked(self, world):
        write(world)
        assert same(history(world, keys=[2, 1]), BLOCK.select([1, 0]))

    def test_writing_twice_changes_nothing(self, world):
        write(world)
        assert write(world) == 0

    def test_only_changed_rows_are_counted(self, world):
        write(world)
        values = BLOCK.values.copy()
        values[0, 1, 5] = 0.125
        assert write(world, replace(BLOCK, values=values)) == 1
        assert history(world).values[0, 1, 5] == np.float32(0.125)

    def test_a_week_that_is_no_step_any_more_goes(self, world):
        write(world)
        shorter = block_of([[W1, W3], [W2]], seed=2)
        write(world, shorter)
        assert same(history(world), shorter)

    def test_later_weeks_stay_when_an_earlier_date_is_written(self, world):
        write(world)
        earlier = block_of([[W1], []], seed=3)
        write(world, earlier, through=W1)
        assert history(world).week.tolist() == [[W1, W2, W3], [W2, PAD, PAD]]

    def test_contracts_do_not_mix(self, world):
        write(world)
        other = block_of([[W1], [W1]], seed=4)
        write(world, other, contract=OTHER)
        assert same(history(world), BLOCK)
        assert same(history(world, contract=OTHER), other)

    def test_history_between_two_weeks(self, world):
        write(world)
        assert history(world, from_week=W2, to_week=W2).week.tolist() == [[W2], [W2]]

    def test_nobody_and_nothing(self, world):
        assert history(world).week.shape == (2, 0)
        assert history(world, keys=[]).week.shape == (0, 0)
        assert write(world, block_of([[], []], seed=1)) == 0

    def test_a_block_of_other_students_is_refused(self, world):
        with pytest.raises(InvalidInputError):
            write(world, keys=[1])
        with pytest.raises(InvalidInputError, match="through_week"):
            write(world, through=W2)

    def test_two_writers_at_once_agree(self, world):
        async def work(store):
            write = store.write_block
            return await asyncio.gather(*(write(KEYS, BLOCK, CONTRACT, through_week=W3) for _ in range(2)))

        assert sorted(with_store(world, work)) == [0, 4]
        assert same(history(world), BLOCK)


class TestWindows:
    def test_the_last_steps_up_to_the_week(self, world):
        write(world)
        stored = windows(world, length=2)
        assert stored.block.week.tolist() == [[W2, W3], [W2, PAD]]
        np.testing.assert_array_equal(stored.block.values[0], BLOCK.values[0, 1:3])
        assert windows(world, through=W2).block.week.tolist() == [[W1, W2], [W2, PAD]]

    def test_any_number_of_students_is_one_statement(self, world, monkeypatch):
        write(world)

        async def work(store):
            with counted_statements(monkeypatch) as counter:
                await store.latest_windows(
                    KEYS * 50, through_week=W3, window_weeks=20, contract_fingerprint=CONTRACT.fingerprint
                )
            return counter.count

        assert with_store(world, work) == 1

    def test_nobody_asked_for(self, world):
        stored = windows(world, keys=[])
        assert (stored.block.n_students, list(stored.is_current)) == (0, [])

    def test_nothing_stored(self, world):
        stored = windows(world)
        assert stored.block.week.shape == (2, 0)
        assert stored.is_current == [False, False]

    def test_current_once_marked_through_the_week(self, world):
        write(world)
        assert windows(world).is_current == [False, False]
        refresh(world)
        assert windows(world).is_current == [True, True]
        assert windows(world, through=W4).is_current == [False, False]
        assert windows(world, through=W1).is_current == [True, True]
        assert windows(world, contract=OTHER).is_current == [False, False]

    def test_not_current_after_an_import_that_reaches_the_week(self, world):
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-07"))
        assert windows(world).is_current == [True, False]
        assert windows(world, through=W2).is_current == [True, True]


def find(world: World, *student_ids: str, through=W3, contract=CONTRACT):
    names = [StudentId(name) for name in student_ids or ("s1", "s2")]
    return with_store(world, lambda store: store.find_windows(names, through_week=through, contract=contract))


class TestFoundWindows:
    """What serving reads: one row per student, and exactly what the stored weeks would give."""

    def agrees(self, world: World, *, through=W3, contract=CONTRACT) -> list[bool]:
        """Who has a window; every one is compared with the stored weeks."""
        found = find(world, through=through, contract=contract)
        stored = windows(world, through=through, contract=contract, length=contract.window_weeks)
        assert found.keys.tolist() == KEYS
        assert found.is_current.tolist() == list(stored.is_current)
        expected = last_windows(stored.block, window_weeks=contract.window_weeks).select(found.has_window)
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(getattr(found.batch, name), values, err_msg=name)
        return found.has_window.tolist()

    def test_any_number_of_students_is_one_statement(self, world, monkeypatch):
        write(world)

        async def work(store):
            with counted_statements(monkeypatch) as counter:
                await store.find_windows(["s1", "s2", "ghost"] * 30, through_week=W3, contract=CONTRACT)
            return counter.count

        assert with_store(world, work) == 1

    def test_only_the_last_weeks_are_kept(self, world):
        weeks = [W4 - 7 * number for number in range(30, -1, -1)]
        block = block_of([weeks, weeks[:20]], seed=9)
        write(world, block, through=W4)
        refresh(world, through=W4)
        assert self.agrees(world, through=W4) == [True, True]

    def test_not_before_the_weeks_are_marked(self, world):
        write(world)
        assert self.agrees(world) == [False, False]
        refresh(world)
        assert self.agrees(world) == [True, True]

    def test_students_without_steps_have_a_window_without_steps(self, world):
        write(world, block_of([[], [W2]], seed=1))
        refresh(world)
        assert self.agrees(world) == [True, True]
        assert find(world, "s1").batch.length.tolist() == [0]

    @pytest.mark.parametrize("length", [0, 1, 2])
    def test_a_window_follows_its_weeks(self, world, length):
        write(world)
        refresh(world)
        write(world, block_of([[W1, W2, W3][:length], [W3]], seed=7))
        assert self.agrees(world) == [True, True]

    def test_written_twice_it_is_not_rewritten(self, world):
        write(world)
        before = world.values("SELECT xmin::text FROM feature_windows ORDER BY student_key")
        write(world)
        assert world.values("SELECT xmin::text FROM feature_windows ORDER BY student_key") == before

    def test_a_date_in_the_past_takes_the_window_back(self, world):
        write(world)
        refresh(world)
        write(world, block_of([[W1], []], seed=3), through=W1)
        assert self.agrees(world) == [False, False]
        assert self.agrees(world, through=W1) == [True, True]

    def test_contracts_do_not_mix(self, world):
        for contract, block in ((CONTRACT, BLOCK), (OTHER, block_of([[W3], [W3]], seed=4))):
            write(world, block, contract=contract)
            refresh(world, contract=contract)
        assert self.agrees(world) == self.agrees(world, contract=OTHER) == [True, True]

    def test_an_import_takes_it_back_until_the_weeks_are_written(self, world):
        write(world)
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-07"))
        assert self.agrees(world) == [True, False]
        write(world, block_of([[W3]], seed=8), keys=[2])
        assert self.agrees(world) == [True, False]
        refresh(world)
        assert self.agrees(world) == [True, True]

    def test_an_import_while_the_weeks_are_computed_keeps_it_back(self, world):
        write(world)
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-07"))
        listed = with_store(world, lambda store: store.pending_refresh(contract=CONTRACT, through_week=W3, limit=9))
        world.load_one("attendance_records", attendance("s2", "2025-01-08"))
        write(world)
        with_store(world, lambda store: store.mark_refreshed(listed, contract=CONTRACT, through_week=W3))
        assert self.agrees(world) == [True, False]

    def test_of_those_who_left_it_holds_for_every_later_week(self, world):
        world.load_one("enrollments", enrollment("s1"), enrollment("s2", exit_date="2025-01-09"))
        write(world)
        refresh(world)
        for later in (W4, W4 + 7):
            with_store(world, lambda store, week=later: store.carry_forward(contract=CONTRACT, through_week=week))
            assert self.agrees(world, through=later) == [False, True]
        world.load_one("attendance_records", attendance("s2", "2025-01-08"))
        assert self.agrees(world, through=W4) == [False, False]
        write(world, block_of([[W1, W4], [W2, W3]], seed=6), through=W4)
        refresh(world, through=W4)
        assert self.agrees(world, through=W4) == [True, True]

    def test_a_release_without_windows_leaves_none_that_is_old(self, world):
        """It refreshes weeks and state, and leaves the rest as it was."""
        write(world)
        refresh(world)
        world.execute(
            "UPDATE student_features SET feature_values = array_fill(7::real, ARRAY[42]);"
            f"UPDATE feature_states SET through_week = '2025-01-06' WHERE contract_fingerprint = '{CONTRACT.fingerprint}'"
        )
        assert self.agrees(world) == [False, False]
        assert [student.student_key for student in refresh(world)] == KEYS
        assert refresh(world) == []

    def test_of_another_length_is_not_read(self, world):
        write(world)
        refresh(world)
        world.execute("UPDATE feature_windows SET encoded = substr(encoded, 2) WHERE student_key = 1")
        assert self.agrees(world) == [False, True]


class TestQueue:
    def test_everybody_is_pending_at_first_and_nobody_after(self, world):
        assert [student.student_key for student in refresh(world)] == [1, 2]
        assert refresh(world) == []

    def test_a_new_week_makes_everybody_pending(self, world):
        refresh(world)
        assert [p.student_key for p in refresh(world, through=W4)] == [1, 2]

    def test_an_import_makes_its_students_pending(self, world):
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-01"))
        assert [p.student_key for p in refresh(world)] == [2]
        assert refresh(world) == []

    def test_an_import_in_between_keeps_the_student_pending(self, world):
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-01"))
        listed = with_store(world, lambda store: store.pending_refresh(contract=CONTRACT, through_week=W3, limit=9))
        world.load_one("attendance_records", attendance("s2", "2025-01-02"))
        with_store(world, lambda store: store.mark_refreshed(listed, contract=CONTRACT, through_week=W3))
        assert windows(world).is_current == [True, False]
        assert [p.student_key for p in refresh(world)] == [2]

    def test_an_import_after_the_queue_was_left_keeps_the_student_pending(self, world):
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-01"))
        listed = with_store(world, lambda store: store.pending_refresh(contract=CONTRACT, through_week=W3, limit=9))
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-02"))
        with_store(world, lambda store: store.mark_refreshed(listed, contract=CONTRACT, through_week=W3))
        assert [p.student_key for p in refresh(world)] == [2]

    def test_one_contract_leaves_nothing_undone_for_another(self, world):
        refresh(world)
        refresh(world, contract=OTHER)
        world.load_one("attendance_records", attendance("s2", "2025-01-01"))
        assert [p.student_key for p in refresh(world)] == [2]
        assert windows(world).is_current == [True, True]
        assert windows(world, contract=OTHER).is_current == [True, False]
        assert windows(world, contract=OTHER, through=W1).is_current == [True, True]
        assert [p.student_key for p in refresh(world, contract=OTHER)] == [2]
        assert refresh(world) == []

    def test_pages_by_key(self, world):
        def page(after):
            return with_store(
                world,
                lambda store: store.pending_refresh(contract=CONTRACT, through_week=W3, limit=1, after=after),
            )

        assert [p.student_key for p in page(None)] == [1]
        assert [p.student_key for p in page(1)] == [2]
        assert page(2) == []


def enrollment(student: str, *, exit_date: str | None = None, recorded_at: str = "2024-12-20T12:00:00+00:00"):
    return {
        "student_id": student,
        "school_id": "north",
        "grade_level": 9,
        "entry_date": "2024-12-23",
        "exit_date": exit_date,
        "exit_code": exit_date and "transfer_out",
        "recorded_at": recorded_at,
    }


class TestLeavers:
    """s1 stays; s2 leaves."""

    def carry(self, world: World, *, through=W4, contract=CONTRACT) -> list[int]:
        """Students who are still pending after those who left were carried forward."""

        async def work(store):
            await store.carry_forward(contract=contract, through_week=through)
            return await store.pending_refresh(contract=contract, through_week=through, limit=9)

        return [student.student_key for student in with_store(world, work)]

    @pytest.mark.parametrize(
        ("exit_date", "pending"), [("2025-01-09", [1]), ("2025-01-13", [1]), ("2025-01-14", [1, 2]), (None, [1, 2])]
    )
    def test_who_left_before_the_week_after_the_last_stored_one_is_not_computed_again(self, world, exit_date, pending):
        world.load_one("enrollments", enrollment("s1"), enrollment("s2", exit_date=exit_date))
        refresh(world)
        assert self.carry(world) == pending
        assert windows(world, through=W4).is_current == [False, pending == [1]]

    def test_who_was_known_as_enrolled_in_a_later_week_is_computed(self, world):
        late = enrollment("s2", exit_date="2025-01-02", recorded_at="2025-01-15T12:00:00+00:00")
        world.load_one("enrollments", enrollment("s1"), enrollment("s2"), late)
        refresh(world)
        assert self.carry(world) == [1, 2]

    def test_whom_an_import_touched_is_computed(self, world):
        world.load_one("enrollments", enrollment("s1"), enrollment("s2", exit_date="2025-01-09"))
        refresh(world)
        world.load_one("attendance_records", attendance("s2", "2025-01-02"))
        assert self.carry(world) == [1, 2]

    def test_what_another_contract_left_undone_is_computed(self, world):
        world.load_one("enrollments", enrollment("s1"), enrollment("s2", exit_date="2025-01-09"))
        refresh(world)
        refresh(world, contract=OTHER)
        world.load_one("attendance_records", attendance("s2", "2025-01-02"))
        refresh(world)
        assert self.carry(world, contract=OTHER) == [1, 2]

    def test_whose_weeks_were_never_stored_is_computed(self, world):
        world.load_one("enrollments", enrollment("s1"), enrollment("s2", exit_date="2025-01-09"))
        assert self.carry(world) == [1, 2]


class TestExclusiveRefresh:
    def order(self, world: World, other: World) -> list[str]:
        """What happens when `other` asks while `world` refreshes."""
        done: list[str] = []

        async def second() -> None:
            async with (
                Database(other.urls.app_url, district_id=other.district) as database,
                PostgresFeatureStore(database).exclusive_refresh(),
            ):
                done.append("second")

        async def first(store) -> None:
            async with store.exclusive_refresh():
                waiting = asyncio.create_task(second())
                await asyncio.sleep(0.3)
                done.append("first")
            await asyncio.wait_for(waiting, 5)

        with_store(world, first)
        return done

    def test_a_second_one_waits(self, world):
        assert self.order(world, world) == ["first", "second"]

    def test_another_district_does_not(self, world):
        assert self.order(world, World(world.urls, district="other")) == ["second", "first"]

    def test_after_an_error_the_next_one_goes_ahead(self, world):
        async def fail(store):
            async with store.exclusive_refresh():
                raise RuntimeError

        with pytest.raises(RuntimeError):
            with_store(world, fail)
        assert self.order(world, world) == ["first", "second"]

    def test_a_lost_lock_is_told(self, world):
        async def lose(store):
            async with store.exclusive_refresh():
                with psycopg.connect(world.urls.admin_url, autocommit=True) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks "
                        "WHERE locktype = 'advisory' AND database = "
                        "(SELECT oid FROM pg_database WHERE datname = current_database())"
                    )

        with pytest.raises(DependencyDownError):
            with_store(world, lose)


def test_each_district_writes_its_own(world):
    write(world)
    other = World(world.urls, district="other")
    assert windows(other).block.week.shape == (2, 0)
