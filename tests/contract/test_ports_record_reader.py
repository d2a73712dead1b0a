import asyncio
from dataclasses import fields
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from edupulse_ml.connectors.memory import records_from_tables
from edupulse_ml.core.records import RecordSet
from edupulse_ml.storage.records import PostgresRecordReader
from tests.fakes.record_tables import chunk
from tests.fakes.store_world import World
from tests.fakes.stores import FakeRecordReader

NOW = datetime(2025, 6, 2, 15, tzinfo=UTC)
ZONE = "America/New_York"


def attendance(student: str, day: int, status: str, recorded_at: str | None = None):
    return {"student_id": student, "date": f"2025-01-{day:02}", "status": status, "recorded_at": recorded_at}


def grade(student: str, course: str, **more):
    return {
        "student_id": student,
        "course_id": course,
        "subject": "math",
        "is_core": True,
        "term_id": "t2",
        "assignment_id": "a",
        "category": "quiz",
        "due_date": "2025-01-10",
        "points_weight": 1.0,
        **more,
    }


FILES = {
    "schools": [{"school_id": "north", "records_tardies": True}, {"school_id": "south", "records_tardies": False}],
    "calendar": [
        {
            "school_id": school,
            "date": f"2025-01-{day:02}",
            "is_instructional": day % 2 == 0,
            "term_id": f"t{day // 10}",
            "school_year": 2024,
            "discipline_reported": school == "north",
        }
        for school in ("north", "south")
        for day in range(6, 25)
    ],
    "students": [{"student_id": "s1", "birth_date": "2009-05-01"}, {"student_id": "s2", "person_id": "p"}],
    "enrollments": [
        {"student_id": "s1", "school_id": "north", "grade_level": 9, "entry_date": "2024-09-03"},
        {
            "student_id": "s2",
            "school_id": "south",
            "grade_level": 10,
            "entry_date": "2024-09-03",
            "exit_date": "2025-03-03",
            "exit_code": "dropout",
            "last_attended_date": "2025-02-28",
        },
    ],
    "attendance_records": [
        attendance("s1", 6, "present"),
        attendance("s1", 7, "tardy", "2025-01-08T03:00:00+00:00"),
        attendance("s1", 7, "present", "2025-01-10T03:00:00+00:00"),
        attendance("s1", 7, "present", "2025-01-11T03:00:00+00:00"),
        attendance("s2", 7, "absent_excused"),
    ],
    "grades": [
        grade("s1", "algebra", score_pct=80.5, posted_at="2025-01-12T02:00:00+00:00"),
        grade("s2", "geometry", submitted_at="2025-01-09T12:00:00+00:00"),
    ],
    "transcript": [
        {
            "student_id": "s1",
            "term_id": "t1",
            "course_id": "algebra",
            "is_core": True,
            "credits_attempted": 1,
            "credits_earned": 0.5,
            "posted_at": "2025-01-20T12:00:00+00:00",
        }
    ],
    "discipline_incidents": [
        {
            "student_id": "s2",
            "incident_id": "i",
            "incident_date": "2025-01-08",
            "behavior_code": "fight",
            "is_objective": True,
            "severity": 3,
            "is_major": True,
            "action": "ISS",
            "action_days": 1.5,
        }
    ],
}


def fake_reader() -> FakeRecordReader:
    tables: dict[str, pa.Table] = {name: chunk(name, rows) for name, rows in FILES.items()}
    found = records_from_tables(tables, zone=ZoneInfo(ZONE))
    keys = [found.student_ids.index(name) + 1 for name in found.student_ids]
    return FakeRecordReader(
        students=dict(zip(found.student_ids, keys, strict=True)), records=found.records, exits=found.exits, keys=keys
    )


class Fake:
    def run(self, work):
        return asyncio.run(work(fake_reader()))


class Real:
    def __init__(self, urls) -> None:
        self.world = World(urls)
        self.world.load(FILES)

    def run(self, work):
        return self.world.run(lambda database: work(PostgresRecordReader(database)))


@pytest.fixture(scope="module")
def real(module_database_urls):
    return Real(module_database_urls)


@pytest.fixture(params=["fake", "postgresql"])
def side(request):
    return Fake() if request.param == "fake" else request.getfixturevalue("real")


def read(side, *students: str, as_of: datetime = NOW) -> RecordSet:
    async def work(reader):
        keys = await reader.find_students(students)
        return await reader.records_of([keys[student] for student in students], as_of=as_of)

    return side.run(work)


def table(events, *, without: tuple[str, ...] = ()) -> list[tuple[object, ...]]:
    """Entries in a fixed order, NaN as None."""
    columns = [getattr(events, field.name).tolist() for field in fields(events) if field.name not in without]
    rows = zip(*([None if value != value else value for value in column] for column in columns), strict=True)
    return sorted(rows, key=repr)


def test_the_district(side):
    assert side.run(lambda reader: reader.district()).timezone == ZONE


def test_known_students_only(side):
    assert set(side.run(lambda reader: reader.find_students(["s2", "ghost"]))) == {"s2"}


def test_as_of_hides_later_versions(side):
    a = read(side, "s1", as_of=datetime(2025, 1, 8, 17, tzinfo=UTC)).attendance
    assert len(a.student) == 2
    b = read(side, "s1").attendance
    assert len(b.student) == 3


def test_positions_follow_the_order_asked(side):
    assert np.isnan(read(side, "s2", "s1").grades.score_pct[read(side, "s2", "s1").grades.student == 0]).all()
    assert read(side, "s2", "s1").birth_day.tolist() == read(side, "s1", "s2").birth_day[::-1].tolist()


@pytest.mark.parametrize("name", ["attendance", "grades", "transcript", "discipline", "enrollments"])
@pytest.mark.parametrize("moment", [NOW, datetime(2025, 1, 8, 17, tzinfo=UTC)])
def test_the_store_reads_what_the_connectors_hold_in_memory(real, name, moment):
    # Course and term codes only need to be equal for equal ids, which the next test checks.
    codes = ("course", "term")
    expected = table(getattr(read(Fake(), "s1", "s2", as_of=moment), name), without=codes)
    assert table(getattr(read(real, "s1", "s2", as_of=moment), name), without=codes) == expected


def test_calendars_agree(real):
    stored, memory = read(real, "s1", "s2"), read(Fake(), "s1", "s2")
    for field in fields(stored.calendars):
        if field.name != "term":
            ours, theirs = getattr(stored.calendars, field.name), getattr(memory.calendars, field.name)
            np.testing.assert_array_equal(ours, theirs)
    for records in (stored, memory):
        calendar_term = records.calendars.term[0, 20108 - records.calendars.first_day]
        assert records.grades.term.tolist() == [calendar_term] * 2


def test_exits_agree(real):
    async def work(reader):
        keys = await reader.find_students(["s1", "s2"])
        return await reader.exits_of([keys["s2"], keys["s1"]], as_of=NOW)

    assert table(real.run(work)) == table(Fake().run(work))
