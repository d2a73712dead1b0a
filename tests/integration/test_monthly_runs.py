"""A month on a real PostgreSQL: done once, continued wherever it was killed, one at a time, and kept step by step."""

import asyncio
import multiprocessing
import signal
from datetime import date
from pathlib import Path

import pytest

from edupulse_ml.core.errors import ConflictError, DependencyDownError, NotEnoughDataError
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.errors import StatementFailedError
from edupulse_ml.storage.monthly_runs import MonthlyRunStore, MonthUnderWayError
from jobs.month.results import DataChecked
from tests.fakes.clocks import FixedClock
from tests.fakes.month_steps import NAMES, RESULTS, Ledger, run_and_die, run_on
from tests.fakes.store_world import SCHOOLS, STUDENTS, World

MAY = date(2025, 5, 1)
POINTS = [f"{moment} {name}" for name in NAMES for moment in ("begun", "worked", "noted")]


@pytest.fixture(scope="module")
def shared(module_database_urls) -> World:
    world = World(module_database_urls, district="killed")
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fakes.month_steps"])
    return context


def run(world: World, ledger: Ledger, month: date = MAY, **options):
    return world.run(lambda database: run_on(database, month, ledger, **options))


def kept(world: World, month: date):
    async def read(database: Database):
        store = MonthlyRunStore(database, clock=FixedClock())
        latest = await store.latest(month)
        assert latest is not None
        return latest, await store.steps(latest)

    return world.run(read)


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_same_call_ends_as_if_nothing_had_been(
    shared: World, ledger: Ledger, processes, point: str
) -> None:
    month = date(2000 + POINTS.index(point), 1, 1)  # every point has a month of its own
    process = processes.Process(
        target=run_and_die, args=(shared.urls.app_url, shared.district, month, ledger.path, point)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    begun, steps = kept(shared, month)
    assert begun.finished_at is None
    killed_in = point.split()[1]
    assert (steps[killed_in].finished_at is None) == ("noted" not in point)

    end = run(shared, ledger, month)

    assert end.month.run.run_id == begun.run_id
    assert (end.outcome, end.was_finished, end.month.results) == ("refused", False, RESULTS)
    assert ledger.lines() == [f"{name} {begun.run_id}" for name in NAMES]
    ended, steps = kept(shared, month)
    assert (ended.number, ended.outcome) == (1, "refused")
    assert ended.finished_at is not None
    twice = set() if "noted" in point else {killed_in}
    assert {name: step.tries for name, step in steps.items()} == {name: 1 + (name in twice) for name in NAMES}


def test_a_finished_month_is_left_alone_and_again_makes_a_run_of_its_own(world: World, ledger: Ledger) -> None:
    first = run(world, ledger)
    assert (first.was_finished, first.month.run.name, first.month.run.number) == (False, "2025-05", 1)
    second = run(world, ledger)
    assert (second.was_finished, second.outcome) == (True, "refused")
    assert second.month.results == first.month.results
    assert len(ledger.lines()) == len(NAMES)
    third = run(world, ledger, again=True)
    assert (third.was_finished, third.month.run.name) == (False, "2025-05-2")
    assert len(ledger.lines()) == 2 * len(NAMES)


def test_again_goes_on_with_an_unfinished_run(world: World, ledger: Ledger) -> None:
    run(world, ledger)
    with pytest.raises(KeyError):
        run(world, ledger, again=True, failing="gate", error=KeyError())
    assert run(world, ledger, again=True).month.run.number == 2


ASKED = {"strategy": "boosted", "seed": 0, "policy": None, "rescore": "always", "ignored_data_blockers": "late: ok"}


def test_an_unfinished_run_is_not_gone_on_with_by_other_options(world: World, ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        run(world, ledger, parameters=ASKED, failing="gate", error=KeyError())
    other = {**ASKED, "seed": 1, "policy": "strict.yaml"}
    with pytest.raises(
        ConflictError, match=r"begun with policy=None, seed=0; this call has policy=strict.yaml, seed=1"
    ):
        run(world, ledger, parameters=other)
    begun, steps = kept(world, MAY)
    assert (begun.number, begun.finished_at, steps["gate"].tries) == (1, None, 1)
    assert run(world, ledger, parameters=ASKED).month.run.number == 1


def test_other_options_begin_an_unfinished_month_anew_where_it_is_run_again(world: World, ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        run(world, ledger, parameters=ASKED, failing="gate", error=KeyError())
    end = run(world, ledger, parameters={**ASKED, "strategy": "rules"}, again=True)
    assert (end.month.run.number, end.month.run.parameters["strategy"]) == (2, "rules")


@pytest.mark.parametrize(
    "same",
    [
        {**ASKED, "rescore": "changed"},
        {name: value for name, value in ASKED.items() if name != "ignored_data_blockers"},
        {**ASKED, "option_of_a_later_release": 1},
    ],
)
def test_what_changes_nothing_that_is_done_may_differ(world: World, ledger: Ledger, same: dict[str, object]) -> None:
    with pytest.raises(KeyError):
        run(world, ledger, parameters=ASKED, failing="gate", error=KeyError())
    assert run(world, ledger, parameters=same).month.run.number == 1


def test_a_run_that_another_release_began_is_left_and_the_month_run_anew(world: World, ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        run(world, ledger, failing="gate", error=KeyError())
    world.execute("""UPDATE monthly_steps SET result = '{"number": 2}' WHERE step = 'train'""")
    end = run(world, ledger)
    assert (end.outcome, end.month.run.number, end.month.results) == ("refused", 2, RESULTS)


def test_unfit_records_end_the_month_before_training_and_mended_ones_begin_it_anew(
    world: World, ledger: Ledger
) -> None:
    end = run(world, ledger, blocked=True)
    assert end.outcome == "blocked"
    assert list(end.month.results) == ["refresh", "check_data", "report"]
    assert end.month.of(DataChecked).blockers[0].name == "freshness.attendance_records"
    assert run(world, ledger, blocked=True).month.run.number == 2
    mended = run(world, ledger)
    assert (mended.outcome, mended.month.run.number) == ("refused", 3)


def test_a_blocked_month_that_was_ended_before_its_report_is_run_anew(world: World, ledger: Ledger) -> None:
    for number in (1, 2):
        with pytest.raises(KeyError):
            run(world, ledger, blocked=True, failing="report", error=KeyError())
        begun, steps = kept(world, MAY)
        assert (begun.number, begun.finished_at, set(steps)) == (number, None, {"refresh", "check_data", "report"})
    mended = run(world, ledger)
    assert (mended.outcome, mended.month.run.number, mended.month.results) == ("refused", 3, RESULTS)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotEnoughDataError("There are too few students: wait a year."), "There are too few students: wait a year."),
        (ValueError("ada has a grade of X"), "ValueError"),
    ],
)
def test_a_step_that_fails_says_why_without_a_student_and_is_done_again(
    world: World, ledger: Ledger, error: Exception, told: str
) -> None:
    with pytest.raises(type(error)):
        run(world, ledger, failing="train", error=error)
    begun, steps = kept(world, MAY)
    assert begun.finished_at is None
    assert (steps["train"].error, steps["train"].result) == (told, None)
    assert set(steps) == {"refresh", "check_data", "train"}
    run(world, ledger)
    _, steps = kept(world, MAY)
    assert (steps["train"].error, steps["train"].tries) == (None, 2)


def test_of_two_at_once_the_second_is_told_and_other_districts_are_free(world: World) -> None:
    async def work() -> MonthUnderWayError:
        async with (
            Database(world.urls.app_url, district_id=world.district) as here,
            Database(world.urls.app_url, district_id=world.district) as there,
            Database(world.urls.app_url, district_id=DistrictId("elsewhere")) as elsewhere,
        ):
            first, second, third = (MonthlyRunStore(each, clock=FixedClock()) for each in (here, there, elsewhere))
            async with first.exclusive():
                with pytest.raises(MonthUnderWayError) as told:
                    async with second.exclusive(patience_s=0.05):
                        pass
                async with third.exclusive():
                    pass
            async with second.exclusive(patience_s=0.05):
                return told.value

    error = asyncio.run(work())
    assert error.exit_code == 5
    assert "under way" in str(error)


def test_who_lost_the_lock_can_note_nothing_more(world: World, ledger: Ledger) -> None:
    def lose_the_connection(point: str) -> None:
        if point == "worked train":
            world.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

    with pytest.raises(DependencyDownError):
        run(world, ledger, failpoint=lose_the_connection)
    begun, steps = kept(world, MAY)
    assert begun.finished_at is None
    assert (steps["train"].finished_at, set(steps)) == (None, {"refresh", "check_data", "train"})
    assert run(world, ledger).outcome == "refused"
    assert sum(line.startswith("train") for line in ledger.lines()) == 1


def test_the_month_before_is_the_last_in_which_a_candidate_was_judged(world: World, ledger: Ledger) -> None:
    run(world, ledger, date(2025, 2, 1))
    run(world, ledger, date(2025, 2, 1), again=True)
    run(world, ledger, date(2025, 3, 1), blocked=True)

    async def read(database: Database):
        store = MonthlyRunStore(database, clock=FixedClock())
        return await store.finished_before(date(2025, 4, 1)), await store.finished_before(date(2025, 2, 1))

    before, none = world.run(read)
    assert before.name == "2025-02-2"
    assert none is None


def test_a_month_is_named_by_its_first_day(world: World, ledger: Ledger) -> None:
    with pytest.raises(StatementFailedError):
        run(world, ledger, date(2025, 5, 2))


def test_what_is_stored_is_no_more_than_results_and_sentences(world: World, ledger: Ledger) -> None:
    run(world, ledger)
    (parameters,) = world.values("SELECT parameters FROM monthly_runs")
    assert parameters == {"strategy": "boosted"}
    assert world.values("SELECT result ->> 'version' FROM monthly_steps WHERE step = 'train'") == ["2"]
