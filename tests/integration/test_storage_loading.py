import asyncio
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.sql import SQL
from structlog.testing import capture_logs

from edupulse_ml.core.errors import DependencyDownError, InvalidInputError
from edupulse_ml.storage import loading
from edupulse_ml.storage.loading import LoadResult, LoadSession, RecordLoader
from edupulse_ml.storage.merging import PLANS
from tests.fakes.record_tables import chunk
from tests.fakes.store_world import SCHOOLS, STUDENTS, World

ATTENDANCE = [
    {"student_id": "s1", "date": "2025-01-06", "status": "present", "fraction_absent": 0.1},
    {"student_id": "s1", "date": "2025-01-07", "status": "tardy"},
    {"student_id": "s2", "date": "2025-02-07", "status": "present", "recorded_at": "2025-02-07T20:00:00+00:00"},
]


@pytest.fixture
def world(database_urls) -> World:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    return world


def counts(result: LoadResult) -> tuple[int, int, int, int]:
    return result.inserted, result.updated, result.unchanged, len(result.rejects)


def attendance(status: str, recorded_at: str | None = None, *, student: str = "s1", day: str = "2025-01-06"):
    return {"student_id": student, "date": day, "status": status, "recorded_at": recorded_at}


HISTORY = "SELECT status, recorded_at::text, superseded_at::text FROM attendance_records ORDER BY recorded_at"
T1, T2, T3 = "2025-01-08 12:00:00+00", "2025-01-10 12:00:00+00", "2025-01-14 12:00:00+00"


def chain(world: World) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in world.rows(HISTORY)]


def test_the_same_folder_twice_changes_nothing(world):
    files = {
        "schools": SCHOOLS,
        "calendar": [
            {"school_id": "north", "date": "2025-01-06", "is_instructional": True, "term_id": "t", "school_year": 2024}
        ],
        "students": STUDENTS,
        "enrollments": [
            {"student_id": "s1", "school_id": "north", "grade_level": 9, "entry_date": "2024-09-03"},
            {
                "student_id": "s2",
                "school_id": "south",
                "grade_level": 9,
                "entry_date": "2024-09-03",
                "exit_date": "2025-03-01",
                "exit_code": "dropout",
            },
        ],
        "attendance_records": ATTENDANCE,
        "grades": [
            {
                "student_id": "s1",
                "course_id": "c",
                "subject": "math",
                "is_core": True,
                "term_id": "t",
                "assignment_id": "a",
                "category": "quiz",
                "due_date": "2025-01-06",
                "score_pct": 71.3,
            }
        ],
        "transcript": [
            {
                "student_id": "s1",
                "term_id": "t",
                "course_id": "c",
                "credits_attempted": 0.1,
                "credits_earned": 0.1,
                "posted_at": "2025-01-20T12:00:00+00:00",
            }
        ],
        "discipline_incidents": [
            {
                "student_id": "s1",
                "incident_id": "i",
                "incident_date": "2025-01-06",
                "behavior_code": "fight",
                "is_objective": True,
                "severity": 3,
                "is_major": True,
                "action": "OSS",
                "action_days": 2,
            }
        ],
    }
    first = world.load(files)
    assert {name: counts(result) for name, result in first.items()} == {
        "schools": (0, 0, 2, 0),
        "calendar": (1, 0, 0, 0),
        "students": (0, 0, 2, 0),
        "enrollments": (2, 0, 0, 0),
        "attendance_records": (3, 0, 0, 0),
        "grades": (1, 0, 0, 0),
        "transcript": (1, 0, 0, 0),
        "discipline_incidents": (1, 0, 0, 0),
    }
    world.clock.moment = datetime(2025, 6, 9, tzinfo=UTC)
    queue = world.rows("SELECT * FROM feature_refresh_queue")
    second = world.load(files)
    assert all(counts(result) == (0, 0, len(files[name]), 0) for name, result in second.items())
    assert world.touched == []
    assert world.rows("SELECT * FROM feature_refresh_queue") == queue


class TestVersions:
    def test_a_correction_supersedes_and_keeps_the_old_row(self, world):
        world.load_one("attendance_records", attendance("present", T1))
        result = world.load_one("attendance_records", attendance("tardy", T2))
        assert counts(result) == (0, 1, 0, 0)
        assert chain(world) == [("present", T1, T2), ("tardy", T2, None)]

    def test_there_and_back_again_in_one_file(self, world):
        rows = [attendance("present", T1), attendance("tardy", T2), attendance("present", T3)]
        assert counts(world.load_one("attendance_records", *rows)) == (3, 0, 0, 0)
        assert chain(world) == [("present", T1, T2), ("tardy", T2, T3), ("present", T3, None)]
        assert counts(world.load_one("attendance_records", *rows)) == (0, 0, 3, 0)

    def test_there_and_back_again_in_three_files(self, world):
        for status, moment in (("present", T1), ("tardy", T2), ("present", T3)):
            world.load_one("attendance_records", attendance(status, moment))
        assert chain(world) == [("present", T1, T2), ("tardy", T2, T3), ("present", T3, None)]

    def test_a_late_version_is_inserted_between(self, world):
        world.load_one("attendance_records", attendance("present", T1), attendance("absent_excused", T3))
        assert counts(world.load_one("attendance_records", attendance("tardy", T2))) == (0, 1, 0, 0)
        assert chain(world) == [("present", T1, T2), ("tardy", T2, T3), ("absent_excused", T3, None)]

    def test_a_version_that_says_nothing_new_is_unchanged(self, world):
        world.load_one("attendance_records", attendance("present", T1))
        assert counts(world.load_one("attendance_records", attendance("present", T2))) == (0, 0, 1, 0)
        assert chain(world) == [("present", T1, None)]

    def test_another_version_with_the_same_moment_is_rejected(self, world):
        world.load_one("attendance_records", attendance("present", T1))
        result = world.load_one("attendance_records", attendance("tardy", T1), attendance("tardy", T2))
        assert counts(result) == (0, 1, 0, 1)
        assert result.rejects[0].reason == "another version with the same recorded_at is stored"
        assert chain(world) == [("present", T1, T2), ("tardy", T2, None)]

    def test_a_repeated_line_is_rejected(self, world):
        for _ in range(2):
            result = world.load_one(
                "attendance_records",
                attendance("present", T1),
                attendance("tardy", T1),
                attendance("present", T1, student="s2"),
            )
            assert [(reject.line, reject.file) for reject in result.rejects] == [(3, "attendance_records.csv")]
        assert len(chain(world)) == 2


class TestWithoutRecordedAt:
    def test_a_new_row_counts_as_known_after_the_lag_in_local_time(self, world):
        world.load_one("attendance_records", attendance("present"))
        assert chain(world) == [("present", "2025-01-07 05:00:00+00", None)]

    def test_but_not_later_than_now(self, world):
        world.load_one("attendance_records", attendance("present", day="2025-06-02"))
        assert chain(world) == [("present", "2025-06-02 15:00:00+00", None)]

    def test_another_value_is_known_from_the_import_on(self, world):
        world.load_one("attendance_records", attendance("present"))
        assert counts(world.load_one("attendance_records", attendance("tardy"))) == (0, 1, 0, 0)
        now = "2025-06-02 15:00:00+00"
        assert chain(world) == [("present", "2025-01-07 05:00:00+00", now), ("tardy", now, None)]

    def test_back_to_the_first_value_within_the_same_tick(self, world):
        for status in ("present", "tardy", "present"):
            world.load_one("attendance_records", attendance(status))
        assert [row[0] for row in chain(world)] == ["present", "tardy", "present"]
        assert chain(world)[2][1] == "2025-06-02 15:00:00.000001+00"

    def test_a_repeated_line_is_rejected(self, world):
        result = world.load_one("attendance_records", attendance("present"), attendance("tardy"))
        assert counts(result) == (1, 0, 0, 1)

    def test_both_kinds_in_one_file(self, world):
        rows = [attendance("present", T1), attendance("tardy")]
        assert counts(world.load_one("attendance_records", *rows)) == (1, 1, 0, 0)
        assert counts(world.load_one("attendance_records", *rows)) == (0, 0, 2, 0)

    def test_a_transcript_row_is_known_when_posted(self, world):
        world.load_one(
            "transcript",
            {
                "student_id": "s1",
                "term_id": "t",
                "course_id": "c",
                "credits_attempted": 1,
                "credits_earned": 1,
                "posted_at": "2025-01-20T12:00:00+00:00",
            },
        )
        assert world.values("SELECT recorded_at::text FROM transcript") == ["2025-01-20 12:00:00+00"]


OPEN = {"student_id": "s1", "school_id": "north", "grade_level": 9, "entry_date": "2024-09-03"}
CLOSED = {**OPEN, "exit_date": "2025-03-03", "exit_code": "dropout", "last_attended_date": "2025-02-28"}
EXITS = "SELECT exit_code, recorded_at::text, superseded_at::text FROM enrollments ORDER BY recorded_at"


class TestEnrollments:
    def history(self, world):
        return [tuple(row.values()) for row in world.rows(EXITS)]

    def test_a_closed_one_was_open_until_its_end(self, world):
        assert counts(world.load_one("enrollments", CLOSED)) == (1, 0, 0, 0)
        end = "2025-03-03 05:00:00+00"
        assert self.history(world) == [(None, "2024-09-03 04:00:00+00", end), ("dropout", end, None)]
        assert counts(world.load_one("enrollments", CLOSED)) == (0, 0, 1, 0)

    def test_an_exit_filled_in_later_is_a_correction(self, world):
        world.load_one("enrollments", OPEN)
        assert counts(world.load_one("enrollments", CLOSED)) == (0, 1, 0, 0)
        now = "2025-06-02 15:00:00+00"
        assert self.history(world) == [(None, "2024-09-03 04:00:00+00", now), ("dropout", now, None)]

    def test_one_that_ended_on_its_first_day_is_one_version(self, world):
        world.load_one("enrollments", {**CLOSED, "exit_date": "2024-09-03"})
        assert self.history(world) == [("dropout", "2024-09-03 04:00:00+00", None)]

    def test_with_recorded_at_nothing_is_added(self, world):
        world.load_one("enrollments", {**CLOSED, "recorded_at": T1})
        assert self.history(world) == [("dropout", T1, None)]

    def test_unknown_school_and_student_are_rejected(self, world):
        result = world.load_one("enrollments", {**OPEN, "school_id": "x"}, {**OPEN, "student_id": "x"}, OPEN)
        assert counts(result) == (1, 0, 0, 2)
        assert [(reject.line, reject.column) for reject in result.rejects] == [(2, "school_id"), (3, "student_id")]


class TestRejects:
    def test_a_bad_row_stops_no_good_one(self, world):
        result = world.load_one(
            "attendance_records",
            attendance("present", student="ghost"),
            attendance("present", day="1650-01-01"),
            {"student_id": "s1", "date": "2025-01-06"},
            attendance("present", student="s\0"),
            attendance("present"),
        )
        assert counts(result) == (1, 0, 0, 4)
        assert {(reject.line, reject.column) for reject in result.rejects} == {
            (2, "student_id"),
            (3, "date"),
            (4, "status"),
            (5, "student_id"),
        }
        assert "ghost" not in str(result.rejects)

    def test_calendar_of_an_unknown_school(self, world):
        row = {"date": "2025-01-06", "is_instructional": True, "term_id": "t", "school_year": 2024}
        result = world.load_one("calendar", {**row, "school_id": "x"}, {**row, "school_id": "north"})
        assert counts(result) == (1, 0, 0, 1)

    def test_duplicates_in_a_table_without_history(self, world):
        result = world.load_one("students", {"student_id": "s3"}, {"student_id": "s3", "person_id": "p"})
        assert counts(result) == (1, 0, 0, 1)

    def test_quotes_and_line_breaks_survive(self, world):
        world.load_one("students", {"student_id": 'a"b,c\nd', "person_id": ""})
        assert world.rows(
            "SELECT student_id, person_id FROM students WHERE student_key = 3 OR student_id LIKE 'a%'"
        ) == [{"student_id": 'a"b,c\nd', "person_id": ""}]

    def test_an_unknown_table_is_refused(self, world):
        with pytest.raises(InvalidInputError, match="attendance_records"):
            world.run(lambda database: _load_unknown(database, world.clock))

    def test_an_empty_file_is_fine(self, world):
        assert counts(world.load_one("attendance_records")) == (0, 0, 0, 0)


async def _load_unknown(database, clock):
    async with RecordLoader(database, clock=clock).session("test") as session:
        await session.load("pupils", "pupils.csv", [])


class TestStudents:
    def test_audit_attributes_are_kept_apart(self, world):
        assert world.values("SELECT attribute || '=' || value FROM student_audit_attributes") == ["sex=f"]

    def test_a_changed_attribute_is_an_update(self, world):
        assert counts(world.load_one("students", {**STUDENTS[0], "sex": "x"})) == (0, 1, 0, 0)
        assert counts(world.load_one("students", {"student_id": "s1", "birth_date": "2009-05-01"})) == (0, 1, 0, 0)
        assert world.values("SELECT value FROM student_audit_attributes") == []

    def test_a_changed_birth_date_asks_for_new_features(self, world):
        world.load_one("enrollments", OPEN)
        world.run(_clear_queue)
        assert counts(world.load_one("students", {**STUDENTS[0], "birth_date": "2009-05-02"})) == (0, 1, 0, 0)
        assert world.values("SELECT from_week::text FROM feature_refresh_queue") == ["2024-09-02"]


async def _clear_queue(database):
    async with database.connection() as connection:
        await connection.execute("DELETE FROM feature_refresh_queue")


class TestRefreshQueue:
    QUEUE = (
        "SELECT student_id, from_week::text FROM feature_refresh_queue JOIN students USING (student_key) "
        "ORDER BY student_id"
    )

    def queue(self, world):
        return [tuple(row.values()) for row in world.rows(self.QUEUE)]

    def test_holds_the_earliest_week_in_which_something_became_known(self, world):
        world.load({"attendance_records": ATTENDANCE})
        assert self.queue(world) == [("s1", "2025-01-06"), ("s2", "2025-02-03")]
        assert world.touched == ["s1", "s2"]
        world.load_one("attendance_records", attendance("tardy", student="s2", day="2025-01-14"))
        assert self.queue(world) == [("s1", "2025-01-06"), ("s2", "2025-01-13")]
        assert world.touched == ["s2"]

    def test_the_week_is_local(self, world):
        # Monday 03:00 UTC is still Sunday in New York.
        world.load_one("attendance_records", attendance("present", "2025-01-13T03:00:00+00:00"))
        assert self.queue(world) == [("s1", "2025-01-06")]

    def test_a_calendar_change_touches_the_students_of_the_school(self, world):
        world.load_one("enrollments", OPEN)
        world.run(_clear_queue)
        row = {"date": "2025-01-08", "is_instructional": True, "term_id": "t", "school_year": 2024}
        world.load_one("calendar", {**row, "school_id": "north"}, {**row, "school_id": "south"})
        assert self.queue(world) == [("s1", "2025-01-06")]


class TestInterrupted:
    def test_an_error_leaves_nothing(self, world):
        with pytest.raises(RuntimeError):
            world.load({"attendance_records": ATTENDANCE, "students": [{"student_id": "s9"}]}, fail=RuntimeError())
        assert world.values("SELECT count(*) FROM attendance_records") == [0]
        assert world.values("SELECT count(*) FROM students") == [2]
        assert world.values("SELECT count(*) FROM imports") == [1]
        assert counts(world.load({"attendance_records": ATTENDANCE})["attendance_records"]) == (3, 0, 0, 0)

    def test_a_killed_backend_leaves_nothing(self, world):
        async def work(database):
            async with RecordLoader(database, clock=world.clock).session("test") as session:
                await session.load("attendance_records", "a.csv", [chunk("attendance_records", ATTENDANCE)])
                with psycopg.connect(world.urls.admin_url, autocommit=True) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE usename = 'edupulse_app' AND state = 'idle in transaction' AND datname = current_database()"
                    )
                await session.load("attendance_records", "a.csv", [chunk("attendance_records", ATTENDANCE)])

        with pytest.raises(DependencyDownError):
            world.run(work)
        assert world.values("SELECT count(*) FROM attendance_records") == [0]

    def test_two_imports_at_once_wait_for_each_other(self, world):
        async def work(database):
            loader = RecordLoader(database, clock=world.clock)

            async def load():
                async with loader.session("test") as session:
                    await asyncio.sleep(0.05)
                    return await session.load("attendance_records", "a.csv", [chunk("attendance_records", ATTENDANCE)])

            return await asyncio.gather(load(), load())

        assert sorted(counts(result) for result in world.run(work)) == [(0, 0, 3, 0), (3, 0, 0, 0)]


@pytest.mark.parametrize("name", ["attendance_records", "enrollments"])
def test_a_new_district_does_not_read_the_rows_of_others(world, name):
    world.load({"attendance_records": ATTENDANCE, "enrollments": [OPEN]})
    other = World(world.urls, district="other")

    async def plan(database):
        async with database.connection() as connection:
            await connection.execute("SET enable_seqscan = off")
            cursor = await connection.execute(SQL("EXPLAIN {}").format(PLANS[name].compose("is_empty")))
            lines = [row[0] for row in await cursor.fetchall()]
            await connection.execute("RESET enable_seqscan")
            cursor = await connection.execute(PLANS[name].compose("is_empty"))
            return lines, await cursor.fetchone()

    lines, answer = other.run(plan)
    assert answer == (True,)
    assert [line for line in lines if f"Seq Scan on {name}" in line] == []
    assert world.run(plan)[1] == (False,)


class TestAfterTheCommit:
    def load(self, world, **arguments):
        async def work(database):
            async with RecordLoader(database, clock=world.clock).session("test", **arguments) as session:
                await session.load("attendance_records", "a.csv", [chunk("attendance_records", ATTENDANCE)])
            return session

        return world.run(work)

    def test_the_listener_hears_of_the_students_when_everybody_sees_their_records(self, world):
        heard = []

        async def listen(students):
            heard.append((list(students), world.values("SELECT count(*) FROM attendance_records")))

        self.load(world, on_commit=listen)
        assert heard == [(["s1", "s2"], [3])]

    def test_the_listener_comes_before_the_statistics(self, world, monkeypatch):
        order = []

        async def listen(_students):
            order.append("listener")

        async def refresh(_self):
            order.append("statistics")

        monkeypatch.setattr(LoadSession, "refresh_statistics", refresh)
        self.load(world, on_commit=listen)
        assert order == ["listener", "statistics"]

    @pytest.mark.parametrize("allowed", [True, False])
    def test_statistics_that_cannot_be_refreshed_do_not_make_the_import_fail(self, world, monkeypatch, allowed):
        monkeypatch.setattr(loading, "_STATISTICS_FROM_ROWS", 1)
        with psycopg.connect(world.urls.admin_url, autocommit=True) as admin:
            if not allowed:
                admin.execute("REVOKE EXECUTE ON FUNCTION refresh_statistics(text) FROM edupulse_app")
        with capture_logs() as lines:
            assert self.load(world).touched_students == ["s1", "s2"]
        assert [line["event"] for line in lines] == ([] if allowed else ["statistics_not_refreshed"])
        analysed = world.values("SELECT reltuples FROM pg_class WHERE relname = 'attendance_records'")
        assert analysed == ([3.0] if allowed else [-1.0])


def test_the_summary_of_an_import_is_kept(world):
    world.load({"attendance_records": [*ATTENDANCE, attendance("present", student="ghost")]})
    (summary,) = world.values("SELECT summary FROM imports ORDER BY import_id DESC LIMIT 1")
    assert summary == {"attendance_records": {"inserted": 3, "updated": 0, "unchanged": 0, "rejected": 1}}


def test_rows_lie_in_monthly_partitions(world):
    world.load({"attendance_records": ATTENDANCE})
    partitions = world.values("SELECT DISTINCT tableoid::regclass::text FROM attendance_records ORDER BY 1")
    assert partitions == ["partitions.attendance_records_y2025m01", "partitions.attendance_records_y2025m02"]


def test_a_district_sees_its_own_students_only(world):
    world.load({"attendance_records": ATTENDANCE})
    other = World(world.urls, district="other")
    other.load({"schools": SCHOOLS, "students": [STUDENTS[0]]})
    result = other.load({"attendance_records": ATTENDANCE})["attendance_records"]
    assert counts(result) == (2, 0, 0, 1)
    assert counts(world.load({"attendance_records": ATTENDANCE})["attendance_records"]) == (0, 0, 3, 0)
