"""New months are loaded as tables of their own: the outcome is that of rows that pass through the stage."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.connection import Database, district_conninfo
from edupulse_ml.storage.loading import RecordLoader
from edupulse_ml.storage.merging import MergePlan
from tests.fakes.record_tables import chunk
from tests.fakes.store_world import SCHOOLS, STUDENTS, World

ROWS = {
    "attendance_records": "SELECT student_id, date, status, fraction_absent, recorded_at, superseded_at, district_id",
    "grades": "SELECT student_id, course_id, assignment_id, due_date, score_pct, recorded_at, superseded_at, district_id",
}
T1, T2 = "2025-01-08 12:00:00+00", "2025-01-10 12:00:00+00"


def attendance(status="present", recorded_at=T1, *, student="s1", day="2025-01-06"):
    return {"student_id": student, "date": day, "status": status, "recorded_at": recorded_at}


def world_of(urls, district="demo") -> World:
    world = World(urls, district=district)
    world.load({"schools": SCHOOLS, "students": [*STUDENTS, *({"student_id": f"r{n}"} for n in range(6))]})
    return world


def load_in_chunks(world, name, rows, *, n_chunks):
    """One file that comes in several chunks."""
    size = -(-len(rows) // n_chunks)
    parts = [chunk(name, rows[at : at + size], first_line=2 + at) for at in range(0, len(rows), size)]

    async def work(database):
        async with RecordLoader(database, clock=world.clock).session("test") as session:
            result = await session.load(name, f"{name}.csv", parts)
        world.touched = list(session.touched_students)
        return result

    return world.run(work)


def random_rows(name, random, count):
    rows = []
    for _ in range(count):
        day = datetime(2025, 1, 25, tzinfo=UTC) + timedelta(days=int(random.integers(0, 12)))
        recorded = day + timedelta(days=int(random.integers(0, 3)), hours=20)
        row = {
            "student_id": f"r{random.integers(0, 7)}",  # r6 does not exist
            "recorded_at": None if random.random() < 0.2 else recorded.isoformat(),
        }
        if name == "attendance_records":
            status = str(random.choice(["present", "tardy"]))
            row |= {"date": str(day.date()), "status": status, "fraction_absent": float(random.integers(0, 2)) or None}
        else:
            row |= {"course_id": f"c{random.integers(0, 2)}", "subject": "math", "is_core": True, "term_id": "t"}
            row |= {"assignment_id": f"a{random.integers(0, 4)}", "category": "quiz", "due_date": str(day.date())}
            row |= {"score_pct": float(random.integers(0, 3)) or None, "points_weight": 1.0}
        rows.append(row)
    return rows


def state(world, name):
    stored = world.rows(
        f"{ROWS[name]} FROM {name} JOIN students USING (district_id, student_key) ORDER BY 1, 2, 3, 4, 5, 6"
    )
    queue = world.rows(
        "SELECT student_id, from_week FROM feature_refresh_queue JOIN students USING (student_key) ORDER BY 1"
    )
    return stored, queue, world.touched


@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("seed", range(4))
def test_months_of_their_own_and_the_stage_agree(postgres, monkeypatch, name, seed):
    """Two imports of random rows, in chunks into new months, and in one chunk through the stage."""
    random = np.random.default_rng(seed)
    files = [random_rows(name, random, 120), random_rows(name, random, 60)]
    outcomes = []
    for n_chunks in (7, 1):
        if n_chunks == 1:
            monkeypatch.setattr(MergePlan, "is_loaded_by_month", property(lambda _plan: False))
        world = world_of(postgres.create())
        results = [load_in_chunks(world, name, rows, n_chunks=n_chunks) for rows in files]
        outcomes.append((results, state(world, name)))
    (by_month, state_by_month), (staged, state_staged) = outcomes
    assert state_by_month == state_staged
    assert [(one.inserted, one.updated, one.unchanged) for one in by_month] == [
        (one.inserted, one.updated, one.unchanged) for one in staged
    ]
    assert [sorted(one.rejects, key=lambda reject: reject.line) for one in by_month] == [
        sorted(one.rejects, key=lambda reject: reject.line) for one in staged
    ]
    assert by_month[0].inserted > 20
    assert by_month[0].rejects


@pytest.fixture
def world(database_urls) -> World:
    return world_of(database_urls)


HISTORY = "SELECT status, recorded_at::text, superseded_at::text FROM attendance_records ORDER BY recorded_at"


class TestAcrossChunks:
    def test_a_version_in_a_later_chunk_continues_the_row_of_an_earlier_one(self, world):
        result = load_in_chunks(world, "attendance_records", [attendance(), attendance("tardy", T2)], n_chunks=2)
        assert (result.inserted, result.updated, result.unchanged, result.rejects) == (2, 0, 0, [])
        assert [tuple(row.values()) for row in world.rows(HISTORY)] == [("present", T1, T2), ("tardy", T2, None)]

    @pytest.mark.parametrize("status", ["present", "tardy"])
    def test_a_repeated_line_is_rejected(self, world, status):
        result = load_in_chunks(world, "attendance_records", [attendance(), attendance(status)], n_chunks=2)
        assert (result.inserted, result.updated, result.unchanged) == (1, 0, 0)
        assert [(reject.line, reject.column, reject.reason) for reject in result.rejects] == [
            (3, "", "another line of this file has the same key")
        ]

    def test_an_error_in_a_later_chunk_leaves_nothing(self, world):
        def chunks():
            yield chunk("attendance_records", [attendance()])
            raise RuntimeError

        async def work(database):
            async with RecordLoader(database, clock=world.clock).session("test") as session:
                await session.load("attendance_records", "a.csv", chunks())

        with pytest.raises(RuntimeError):
            world.run(work)
        assert world.values("SELECT count(*) FROM attendance_records") == [0]
        assert world.values("SELECT count(*) FROM pg_class WHERE relnamespace = 'loading'::regnamespace") == [0]


GUARDS = (
    "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS guarded, "
    "has_any_column_privilege('edupulse_app', c.oid, 'SELECT, INSERT, UPDATE') AS may "
    "FROM pg_class c WHERE c.relnamespace = 'partitions'::regnamespace AND c.relkind = 'r' AND c.relname ~ 'attendance'"
)


def test_a_loaded_month_is_guarded_as_others_are_and_indexed(world):
    world.load_one("attendance_records", attendance())
    world.run(ensure_march)
    assert world.rows(GUARDS + " ORDER BY 1") == [
        {"relname": f"attendance_records_y2025m{month}", "guarded": True, "may": False} for month in ("01", "03")
    ]
    definitions = world.values(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' "
        "AND conrelid::regclass::text LIKE 'partitions.attendance%' AND coninhcount = 1"
    )
    assert definitions == ["PRIMARY KEY (student_key, date, recorded_at)"] * 2
    assert world.values("SELECT count(*) FROM pg_class WHERE relnamespace = 'loading'::regnamespace") == [0]


async def ensure_march(database):
    async with database.connection() as connection:
        await connection.execute("SELECT ensure_partitions('attendance_records', date '2025-03-01', date '2025-03-01')")


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE {month}",
        "UPDATE {month} SET status = 'tardy'",
        "INSERT INTO {month} (district_id, student_key, date, status, recorded_at) VALUES ('b', 1, now(), 'tardy', now())",
    ],
)
def test_a_month_being_loaded_takes_rows_of_the_own_district_only(world, statement):
    with psycopg.connect(district_conninfo(world.urls.app_url, DistrictId("demo"))) as connection:
        ((month,),) = connection.execute("SELECT begin_month('attendance_records', '2025-05-01')").fetchall()
        insert = (
            f"INSERT INTO {month} (student_key, date, status, recorded_at) VALUES (1, '2025-05-01', 'present', now())"
        )
        connection.execute(insert)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(statement.format(month=month))
        connection.execute("SELECT index_month('attendance_records', '2025-05-01')")
        connection.execute("SELECT attach_month('attendance_records', '2025-05-01')")
        assert connection.execute("SELECT district_id FROM attendance_records").fetchall() == [("demo",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("INSERT INTO partitions.attendance_records_y2025m05 SELECT * FROM attendance_records")


@pytest.mark.parametrize("table", ["predictions", "students", "nothing"])
def test_only_record_tables_are_loaded_by_month(world, table):
    with psycopg.connect(district_conninfo(world.urls.app_url, DistrictId("demo"))) as connection:
        assert connection.execute("SELECT begin_month(%s, '2025-05-01')", (table,)).fetchall() == [(None,)]
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT attach_month(%s, '2025-05-01')", (table,))


def test_two_districts_load_the_same_new_months_at_once(database_urls):
    worlds = [world_of(database_urls, district) for district in ("demo", "other")]
    both_loaded = asyncio.Event()

    async def load(world, database, *, first):
        async with RecordLoader(database, clock=world.clock).session("test") as session:
            loading = session.load("attendance_records", "a.csv", [chunk("attendance_records", [attendance()])])
            if first:
                await loading
                both_loaded.set()
                await asyncio.sleep(0.3)
            else:
                await both_loaded.wait()
                await loading
            return await session.load(
                "attendance_records",
                "b.csv",
                [chunk("attendance_records", [attendance("tardy", T2, day="2025-02-03")])],
            )

    async def both():
        async def one(world, *, first):
            async with Database(world.urls.app_url, district_id=world.district) as database:
                return await load(world, database, first=first)

        return await asyncio.wait_for(asyncio.gather(one(worlds[0], first=True), one(worlds[1], first=False)), 20)

    results = asyncio.run(both())
    assert [result.inserted for result in results] == [1, 1]
    assert worlds[0].rows("SELECT district_id, count(*) FROM attendance_records GROUP BY 1 ORDER BY 1") == [
        {"district_id": "demo", "count": 2},
        {"district_id": "other", "count": 2},
    ]


def test_predictions_find_their_partitions_while_months_are_being_attached(world):
    """Only imports of the same table wait for an import that has attached months and not yet committed."""

    async def work(database):
        async with RecordLoader(database, clock=world.clock).session("test") as session:
            await session.load("attendance_records", "a.csv", [chunk("attendance_records", [attendance()])])
            async with database.connection() as connection:
                await connection.execute("SET statement_timeout = '3s'")
                cursor = await connection.execute("SELECT ensure_partitions('predictions', '2031-01-01', '2031-02-01')")
                return await cursor.fetchall()

    assert world.run(work) == [(2,)]


def test_a_month_that_exists_takes_its_rows_through_the_parent(world, monkeypatch):
    world.load_one("attendance_records", attendance())
    began = []
    compose = MergePlan.compose

    def composing(plan, name, **parts):
        if name == "copy_month":
            began.append(parts["month"].as_string(None))
        return compose(plan, name, **parts)

    monkeypatch.setattr(MergePlan, "compose", composing)
    result = world.load_one(
        "attendance_records",
        attendance("tardy", T2),
        attendance(student="s2"),
        attendance(day="2025-02-03"),
    )
    assert (result.inserted, result.updated) == (2, 1)
    assert [month.startswith("loading.attendance_records_y2025m02_") for month in began] == [True]
