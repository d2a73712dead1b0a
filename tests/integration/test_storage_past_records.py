"""Records as they stood after an earlier import, against what was read right after that import."""

import itertools
import random
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.records import RecordSet
from edupulse_ml.storage.past_records import PastRecordReader
from edupulse_ml.storage.records import PostgresRecordReader
from tests.fakes.store_world import World

NAMES = ("s1", "s2", "s3")
FIRST = date(2025, 2, 3)
DAYS = 28
NEVER_AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = ("attendance", "grades", "transcript", "discipline", "enrollments")


def moment(rng: random.Random) -> str | None:
    """When a row claims to have been known: often before what was imported earlier."""
    if rng.random() < 0.3:
        return None
    return (datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=rng.randrange(24 * 60))).isoformat()


def some_rows(rng: random.Random, *, first: bool) -> dict[str, list[dict[str, object]]]:
    days = [FIRST + timedelta(days=offset) for offset in range(DAYS)]
    attended = {(rng.choice(NAMES), rng.choice(days)) for _ in range(20)}
    handed_in = {(rng.choice(NAMES), rng.randrange(4)) for _ in range(8)}
    incidents = {rng.randrange(4): rng.choice(NAMES) for _ in range(3)}
    files: dict[str, list[dict[str, object]]] = {
        "schools": [{"school_id": "north", "records_tardies": rng.random() < 0.5}],
        "calendar": [
            {
                "school_id": "north", "date": day.isoformat(), "is_instructional": rng.random() < 0.8, "term_id": "t",
                "school_year": 2024,
            }
            for day in (days if first else rng.sample(days, 3))
        ],
        "students": [
            {"student_id": name, "birth_date": f"2009-0{rng.randrange(1, 9)}-01"}
            for name in (NAMES if first else rng.sample(NAMES, 1))
        ],
        "enrollments": [
            {
                "student_id": name, "school_id": "north", "grade_level": rng.randrange(9, 12),
                "entry_date": FIRST.isoformat(), "recorded_at": moment(rng),
            }
            for name in NAMES
        ],
        "attendance_records": [
            {
                "student_id": name, "date": day.isoformat(), "recorded_at": moment(rng),
                "status": rng.choice(["present", "tardy", "absent_excused", "absent_unexcused"]),
            }
            for name, day in sorted(attended)
        ],
        "grades": [
            {
                "student_id": name, "course_id": "c", "subject": "math", "is_core": True, "term_id": "t",
                "assignment_id": f"a{number}", "category": "homework", "due_date": (FIRST + timedelta(days=number)).isoformat(),
                "score_pct": rng.choice([None, 50.0, 90.0]), "recorded_at": moment(rng),
            }
            for name, number in sorted(handed_in)
        ],
        "discipline_incidents": [
            {
                "student_id": "s1", "incident_id": f"i{number}", "incident_date": "2025-02-12", "behavior_code": "b",
                "is_objective": True, "severity": rng.randrange(1, 5), "is_major": False, "action": "none",
                "recorded_at": moment(rng),
            }
            for number in sorted(incidents)
        ],
    }  # fmt: skip
    return files


def plain(records: RecordSet) -> dict[str, object]:
    """Columns in an order that does not depend on the database's."""
    found: dict[str, object] = {"birth_day": records.birth_day.tolist()}
    for name in EVENTS:
        events = getattr(records, name)
        rows = zip(*(np.nan_to_num(getattr(events, f.name), nan=-1.0).tolist() for f in fields(events)), strict=True)
        found[name] = sorted(rows)
    calendars = records.calendars
    found["calendars"] = [np.asarray(getattr(calendars, f.name)).tolist() for f in fields(calendars)]
    return found


async def keys_of(reader: PostgresRecordReader):
    found = await reader.find_students([StudentId(name) for name in NAMES])
    return [found[StudentId(name)] for name in NAMES]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_earlier_import_can_be_read_again(database_urls, seed: int) -> None:
    world, rng = World(database_urls), random.Random(seed)
    world.clock.moment = datetime(2025, 5, 1, tzinfo=UTC)

    async def now(database) -> dict[str, object]:
        reader = PostgresRecordReader(database)
        return plain(await reader.records_of(await keys_of(reader), as_of=NEVER_AS_OF))

    snapshots, moments = [], []
    for number in range(5):
        world.load(some_rows(rng, first=number == 0))
        snapshots.append(world.run(now))
        moments.append(world.clock.moment)
        world.clock.advance(timedelta(days=1))
    assert any(left != right for left, right in itertools.pairwise(snapshots))

    async def again(database) -> list[dict[str, object]]:
        keys, past = await keys_of(PostgresRecordReader(database)), PastRecordReader(database)
        assert await past.last_import(moments[0] - timedelta(seconds=1)) == 0
        return [
            plain(await past.records_of(keys, as_of=NEVER_AS_OF, last_import=await past.last_import(moment)))
            for moment in moments
        ]

    for found, wanted in zip(world.run(again), snapshots, strict=True):
        assert found == wanted


def test_imports_close_to_a_moment_are_all_possible(database_urls) -> None:
    world = World(database_urls)
    start = world.clock.moment
    for hours in (0, 1, 2):
        world.clock.moment = start + timedelta(hours=hours)
        world.load({"schools": [{"school_id": "north", "name": str(hours)}]})

    async def possible(database) -> list[list[int]]:
        past = PastRecordReader(database)
        moments = (start + timedelta(hours=1, seconds=seconds) for seconds in (-30, 0, 30, 600))
        return [await past.possible_imports(moment) for moment in moments]

    first, second = world.values("SELECT import_id FROM imports ORDER BY import_id")[:2]
    assert world.run(possible) == [[first, second], [second, first], [second, first], [second]]


def test_what_became_known_about_earlier_times_can_be_left_out(database_urls) -> None:
    world = World(database_urls)
    world.clock.moment = datetime(2025, 2, 10, tzinfo=UTC)
    day, mark = {"student_id": "s1", "status": "present"}, {
        "student_id": "s1", "course_id": "c", "subject": "math", "is_core": True, "term_id": "t",
        "category": "homework", "due_date": "2025-02-07",
    }  # fmt: skip
    world.load(
        {
            "schools": [{"school_id": "north"}],
            "students": [{"student_id": "s1"}],
            "enrollments": [
                {"student_id": "s1", "school_id": "north", "grade_level": 9, "entry_date": FIRST.isoformat()}
            ],
            "attendance_records": [day | {"date": "2025-02-05"}, day | {"date": "2025-02-06"}],
            "grades": [mark | {"assignment_id": "a", "recorded_at": "2025-02-07T12:00:00Z"}],
        }
    )
    world.clock.moment = datetime(2025, 2, 18, tzinfo=UTC)
    world.load(
        {
            "enrollments": [
                {
                    "student_id": "s1", "school_id": "north", "grade_level": 9, "entry_date": FIRST.isoformat(),
                    "exit_date": "2025-02-14", "exit_code": "transfer_out",
                }
            ],
            "attendance_records": [
                day | {"date": "2025-02-05", "status": "absent_excused"},  # a correction
                day | {"date": "2025-02-04", "recorded_at": "2025-02-12T12:00:00Z"},  # late
                day | {"date": "2025-02-11"},  # new
            ],
            "grades": [mark | {"assignment_id": "a", "score_pct": 80.0}],  # fills a gap
        }
    )  # fmt: skip
    since, last = datetime(2025, 2, 10, 4, 59, 59, tzinfo=UTC), 10**6

    async def read(database, **kwargs) -> RecordSet:
        keys = await PostgresRecordReader(database).find_students([StudentId("s1")])
        return await PastRecordReader(database).records_of(
            [*keys.values()], as_of=NEVER_AS_OF, last_import=last, **kwargs
        )

    every = world.run(read)
    rest = world.run(lambda database: read(database, corrected_since=since))
    first = int(every.attendance.day.min())  # 4 February
    assert sorted((every.attendance.day - first).tolist()) == [0, 1, 1, 2, 7]
    assert sorted((rest.attendance.day - first).tolist()) == [1, 2, 7]
    still = rest.attendance.superseded_day[rest.attendance.day == first + 1]
    assert still.tolist() == [2**31 - 1]
    assert (len(rest.grades.due_day), len(every.grades.due_day)) == (2, 2)
    assert len(rest.enrollments.entry_day) == len(every.enrollments.entry_day)
