import asyncio
import time
from datetime import UTC, date, datetime

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from edupulse_ml.core.errors import DependencyDownError, InvalidInputError, NotFoundError
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.connection import Database, district_conninfo
from edupulse_ml.storage.districts import ensure_district, read_district
from edupulse_ml.storage.errors import NotMigratedError, StatementFailedError
from tests.fakes.store_world import SCHOOLS, STUDENTS, World

TENANT_TABLES = [
    "districts",
    "schools",
    "calendar",
    "students",
    "student_audit_attributes",
    "enrollments",
    "attendance_records",
    "grades",
    "transcript",
    "discipline_incidents",
    "student_features",
    "feature_states",
    "feature_windows",
    "feature_refresh_queue",
    "predictions",
    "audit_log",
    "training_jobs",
    "training_feedback",
    "scoring_runs",
    "scoring_chunks",
    "promotions",
    "monitoring_runs",
    "monitoring_figures",
    "monthly_runs",
    "monthly_steps",
    "imports",
]


@pytest.fixture(scope="module")
def world(module_database_urls) -> World:
    world = World(module_database_urls)
    world.load({"schools": SCHOOLS, "students": STUDENTS})
    world.load_one("attendance_records", {"student_id": "s1", "date": "2025-01-06", "status": "present"})
    return world


def as_district(world: World, district: str) -> psycopg.Connection:
    return psycopg.connect(district_conninfo(world.urls.app_url, DistrictId(district)), autocommit=True)


def count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return row[0]


def test_every_table_with_a_district_forces_row_level_security(world):
    rows = world.rows(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS guarded FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'district_id' "
        "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    assert {row["relname"] for row in rows} == set(TENANT_TABLES)
    assert all(row["guarded"] for row in rows)


def test_without_a_district_no_row_is_seen(world):
    with psycopg.connect(world.urls.app_url, autocommit=True) as connection:
        assert {table: count(connection, table) for table in TENANT_TABLES} == dict.fromkeys(TENANT_TABLES, 0)


def test_another_district_sees_nothing(world):
    with as_district(world, "other") as connection:
        assert {table: count(connection, table) for table in TENANT_TABLES} == dict.fromkeys(TENANT_TABLES, 0)
    with as_district(world, "demo") as connection:
        assert (count(connection, "students"), count(connection, "attendance_records")) == (2, 1)


def test_rows_cannot_be_written_for_another_district(world):
    with as_district(world, "other") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("INSERT INTO schools (district_id, school_id) VALUES ('demo', 'x')")


def test_partitions_cannot_be_read_directly(world):
    with as_district(world, "demo") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM partitions.attendance_records_y2025m01")


def test_the_application_role_owns_nothing_and_cannot_bypass(world):
    assert world.rows("SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = 'edupulse_app'") == [
        {"rolsuper": False, "rolbypassrls": False, "rolcreaterole": False}
    ]
    assert world.values("SELECT count(*) FROM pg_class WHERE relowner = 'edupulse_app'::regrole") == [0]
    with as_district(world, "demo") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER TABLE students DISABLE ROW LEVEL SECURITY")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET row_security = off; SELECT count(*) FROM students")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE attendance_records SET status = 'tardy'",
        "DELETE FROM attendance_records",
        "DELETE FROM enrollments",
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE predictions SET risk_score = 0",
        "DELETE FROM predictions",
        "UPDATE districts SET timezone = 'UTC'",
    ],
)
def test_history_cannot_be_rewritten(world, statement):
    with as_district(world, "demo") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_a_statement_that_takes_too_long_ends(world):
    async def work():
        district = DistrictId("demo")
        async with Database(world.urls.app_url, district_id=district, statement_timeout_s=0.2) as db:
            async with db.dedicated() as connection:
                await connection.execute("SELECT pg_sleep(0.4)")
            with pytest.raises(DependencyDownError, match="QueryCanceled"):
                async with db.connection() as connection:
                    await connection.execute("SELECT pg_sleep(5)")
            await db.ping()

    asyncio.run(work())


def test_only_the_pool_keeps_plans(world):
    async def mode(connection) -> object:
        cursor = await connection.execute("SHOW plan_cache_mode")
        return await cursor.fetchone()

    async def work():
        async with (
            Database(world.urls.app_url, district_id=DistrictId("demo"), plans_once=True) as db,
            db.connection() as pooled,
            db.dedicated() as dedicated,
        ):
            return await mode(pooled), await mode(dedicated)

    assert asyncio.run(work()) == (("force_generic_plan",), ("auto",))


def test_a_connection_notices_a_network_that_vanished():
    parts = conninfo_to_dict(district_conninfo("postgresql://db/x?keepalives_idle=60", DistrictId("demo")))
    names = ("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_interval")
    assert [int(parts[name]) for name in names] == [5, 15_000, 1, 60, 5]
    assert "statement_timeout" not in parts["options"]


def test_commits_wait_for_the_disk(world):
    with as_district(world, "demo") as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_resetting_a_connection_keeps_its_district(world):
    with as_district(world, "demo") as connection:
        connection.execute("RESET ALL")
        assert count(connection, "students") == 2


@pytest.mark.parametrize("name", ["", "a b", "x -c role=postgres", "é", "a" * 41])
def test_a_district_name_cannot_smuggle_options(name):
    with pytest.raises(InvalidInputError):
        district_conninfo("postgresql://localhost/x", DistrictId(name))


def test_partitions_are_made_once_and_only_for_known_tables(world):
    with as_district(world, "demo") as connection:
        months = (date(1999, 11, 30), date(2000, 2, 1))
        assert connection.execute("SELECT ensure_partitions('grades', %s, %s)", months).fetchone() == (4,)
        assert connection.execute("SELECT ensure_partitions('grades', %s, %s)", months).fetchone() == (0,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT ensure_partitions('students', %s, %s)", months)
        with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
            connection.execute("SELECT ensure_partitions('grades', date '0001-01-01', date '2000-01-01')")


def end_connections(world: World) -> None:
    """Let the server end every connection of the application, and return when it has."""
    own = "FROM pg_stat_activity WHERE usename = 'edupulse_app' AND datname = current_database()"
    with psycopg.connect(world.urls.admin_url, autocommit=True) as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid) {own}")
        while admin.execute(f"SELECT {own}").fetchall():
            time.sleep(0.01)


class TestDatabase:
    def test_a_server_that_is_not_there(self):
        async def work():
            async with Database("postgresql:///x?host=/nonexistent", district_id=DistrictId("demo"), wait_s=0.2) as db:
                await db.ping()

        with pytest.raises(DependencyDownError) as caught:
            asyncio.run(work())
        assert caught.value.dependency == "postgresql"

    def test_a_database_without_tables(self, postgres):
        async def work():
            async with Database(postgres.create_empty(), district_id=DistrictId("demo")) as db:
                await db.ping()

        with pytest.raises(NotMigratedError, match="edupulse migrate"):
            asyncio.run(work())

    def test_a_refused_statement_quotes_no_row(self, world):
        async def work():
            async with (
                Database(world.urls.app_url, district_id=DistrictId("demo")) as db,
                db.connection() as connection,
            ):
                await connection.execute("INSERT INTO students (student_id) VALUES ('s1')")

        with pytest.raises(StatementFailedError) as caught:
            asyncio.run(work())
        assert "s1" not in str(caught.value)
        assert "23505" in str(caught.value)
        assert caught.value.__suppress_context__

    def test_connections_ended_by_the_server_are_replaced(self, world):
        async def work():
            async with Database(world.urls.app_url, district_id=DistrictId("demo"), max_connections=2) as db:
                await db.ping()
                end_connections(world)
                await db.ping()

        asyncio.run(work())

    def test_a_connection_that_was_not_ended_is_used_without_asking_the_server(self, world, monkeypatch):
        async def work():
            async with Database(world.urls.app_url, district_id=DistrictId("demo"), max_connections=1) as db:
                await db.ping()
                asked = []
                execute = psycopg.AsyncConnection.execute

                async def counting(self, query, *args, **kwargs):
                    asked.append(query)
                    return await execute(self, query, *args, **kwargs)

                monkeypatch.setattr(psycopg.AsyncConnection, "execute", counting)
                await db.ping()
                return asked

        assert asyncio.run(work()) == ["SELECT FROM districts LIMIT 1"]


class TestDistricts:
    def test_a_new_district_takes_the_zone_and_keeps_it(self, world):
        async def work():
            async with Database(world.urls.app_url, district_id=DistrictId("zones")) as db:
                with pytest.raises(NotFoundError, match="zones"):
                    await read_district(db)
                first = await ensure_district(db, timezone="Europe/London")
                return first, await ensure_district(db, timezone="America/New_York")

        first, second = asyncio.run(work())
        assert first == second
        assert (first.district_id, first.timezone) == ("zones", "Europe/London")

    def test_an_unknown_zone_is_refused(self, world):
        with pytest.raises(InvalidInputError, match="Mars/Olympus"):
            world.run(lambda database: ensure_district(database, timezone="Mars/Olympus"))


def test_moments_are_read_in_utc(world):
    with as_district(world, "demo") as connection:
        row = connection.execute("SELECT timestamptz '2025-01-01 12:00+05'").fetchone()
    assert row == (datetime(2025, 1, 1, 7, tzinfo=UTC),)
    assert row[0].utcoffset().total_seconds() == 0
