"""A folder imported into PostgreSQL reads back as the records that the same tables give in memory."""

import asyncio
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from edupulse_ml.connectors.folder import read_folder
from edupulse_ml.connectors.importing import import_folder
from edupulse_ml.connectors.memory import records_from_tables
from edupulse_ml.connectors.rejects import RejectList
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.ids import DistrictId, StudentId
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.districts import ensure_district
from edupulse_ml.storage.loading import RecordLoader
from edupulse_ml.storage.records import PostgresRecordReader
from tests.fakes.clocks import FixedClock

NOW = datetime(2026, 6, 20, 12, tzinfo=UTC)
ZONE = ZoneInfo("America/New_York")
RULES = ReadingRules(ZONE, NOW)
CODES = ("course", "term", "school")

FILES = {
    "schools": ["school_id,records_tardies", "HS2,no", "HS1,yes"],
    "calendar": [
        "school_id,date,is_instructional,term_id,school_year,discipline_reported",
        *(
            f"{school},2025-09-{d:02},{d % 7 not in (6, 0)},2025-S1,2025,true"
            for school in ("HS1", "HS2")
            for d in range(1, 31)
        ),
        "HS1,2026-02-02,true,2025-S2,2025,false",
    ],
    "students": ["student_id,person_id,birth_date", "s-3,p-1,2010-03-14", "s-1,p-1,", "s-2,,2009-11-02"],
    "enrollments": [
        "student_id,school_id,grade_level,entry_date,exit_date,exit_code,last_attended_date,recorded_at",
        "s-1,HS1,9,2025-09-02,,,,2025-08-20T09:00:00-04:00",
        "s-1,HS1,9,2025-09-02,2026-01-20,dropout,2025-12-19,2026-01-22T11:05:00-05:00",
        "s-2,HS2,10,2025-09-02,2026-01-20,,,",
        "s-3,HS2,10,2025-09-02,,,,",
        "s-3,HS9,10,2025-09-02,,,,",
    ],
    "attendance_records": [
        "student_id,date,status,fraction_absent,periods_absent,periods_scheduled,recorded_at",
        "s-1,2025-09-02,present,0,1,7,2025-09-02T23:30:00-04:00",
        "s-1,2025-09-02,tardy,,,,2025-09-05T10:00:00-04:00",
        "s-1,2025-09-02,tardy,,,,2025-09-06T10:00:00-04:00",
        "s-1,2025-09-02,present,0,1,7,2025-09-09T10:00:00-04:00",
        "s-1,2025-09-03,absent,,,,",
        "s-2,2025-09-03,excused,0.25,,,",
        "s-2,2025-09-04,gone,,,,",
        "s-9,2025-09-04,present,,,,",
    ],
    "grades": [
        "student_id,course_id,subject,is_core,term_id,assignment_id,category,due_date,submitted_at,score_pct,points_weight,posted_at,recorded_at",
        "s-1,ALG1,math,true,2025-S1,hw-1,homework,2025-09-12,2025-09-11T20:14:00-04:00,78.5,10,2025-09-16,2025-09-05",
        "s-1,ENG9,ela,true,2025-S1,hw-1,homework,2025-09-13,,,,,",
        "s-2,ART,other,false,2025-S1,hw-2,quiz,2025-09-14,,55,,,",
    ],
    "transcript": [
        "student_id,term_id,course_id,credits_attempted,credits_earned,final_pct,posted_at",
        "s-2,2025-S1,ENG9,0.5,0.5,81,2026-01-30T22:30:00-05:00",
    ],
    "discipline_incidents": [
        "student_id,incident_id,incident_date,behavior_code,is_objective,severity,is_major,action,action_start,action_days,recorded_at",
        "s-3,i-1,2025-10-06,FIGHT,true,4,true,OSS,2025-10-07,2,2025-10-06T16:40:00-04:00",
        "s-3,i-2,2025-10-08,DEFY,false,2,false,none,,,",
    ],
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "district"
    path.mkdir()
    for name, lines in FILES.items():
        (path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return path


def in_store(database_urls, work):
    async def main():
        async with Database(database_urls.app_url, district_id=DistrictId("demo")) as database:
            await ensure_district(database, timezone=ZONE.key)
            return await work(database)

    return asyncio.run(main())


def importing(database, folder, clock):
    loader = RecordLoader(database, clock=clock)
    return import_folder(loader, folder, rules=RULES, rejects_path=folder.parent / "rejects.csv")


def same_events(left, right):
    """Equal as sets of rows, and their codes equal up to a renaming."""
    names = [field.name for field in fields(left)]
    plain = [name for name in names if name not in CODES]
    orders = [np.lexsort([np.nan_to_num(getattr(events, name), nan=-9) for name in plain]) for events in (left, right)]
    for name in names:
        first, second = (getattr(events, name)[order] for events, order in zip((left, right), orders, strict=True))
        if name in CODES:
            pairs = set(zip(first.tolist(), second.tolist(), strict=True))
            assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), name
        else:
            np.testing.assert_array_equal(first, second, err_msg=name)
            assert first.dtype == second.dtype, name


def test_the_store_and_memory_agree(database_urls, folder):
    async def work(database):
        await importing(database, folder, FixedClock(NOW))
        reader = PostgresRecordReader(database)
        found = await reader.find_students([StudentId(name) for name in ("s-3", "s-1", "s-2")])
        keys = [found[StudentId(name)] for name in ("s-3", "s-1", "s-2")]
        as_of = NOW + timedelta(days=1)
        return (
            await reader.records_of(keys, as_of=as_of),
            await reader.exits_of(keys, as_of=as_of),
            await reader.person_ids(keys),
            await reader.school_ids(),
        )

    records, exits, person_ids, school_ids = in_store(database_urls, work)
    tables = {
        file.table.name: pa.concat_tables(file.chunks)
        for file in read_folder(folder, rules=RULES, rejects=RejectList())
    }
    for name, column, unknown in (("attendance_records", "student_id", "s-9"), ("enrollments", "school_id", "HS9")):
        keep = [value != unknown for value in tables[name][column].to_pylist()]
        tables[name] = tables[name].filter(pa.array(keep))
    expected = records_from_tables(tables, zone=ZONE)

    assert list(expected.person_ids) == person_ids
    assert sorted(expected.school_ids) == sorted(school_ids)
    np.testing.assert_array_equal(records.birth_day, expected.records.birth_day)
    for name in ("attendance", "grades", "transcript", "discipline", "enrollments"):
        same_events(getattr(records, name), getattr(expected.records, name))
    same_events(exits, expected.exits)
    order = [school_ids.index(name) for name in expected.school_ids]
    for name in ("is_instructional", "school_year", "discipline_reported", "records_tardies"):
        stored = getattr(records.calendars, name)[order]
        np.testing.assert_array_equal(stored, getattr(expected.records.calendars, name), err_msg=name)
    assert records.calendars.first_day == expected.records.calendars.first_day


def test_importing_twice_changes_nothing_and_rejects_the_same(database_urls, folder):
    async def work(database):
        clock = FixedClock(NOW)
        first = await importing(database, folder, clock)
        listed = first.rejects_path.read_text()
        second = await importing(database, folder, FixedClock(NOW + timedelta(days=2)))
        return first, listed, second

    first, listed, second = in_store(database_urls, work)
    assert (first.rejected, second.rejected) == (3, 3)
    assert sorted(first.touched_students) == ["s-1", "s-2", "s-3"]
    assert (second.changed, second.touched_students) == (0, ())
    assert listed == second.rejects_path.read_text()
    assert [line.split(",")[:3] for line in listed.splitlines()[1:]] == [
        ["enrollments.csv", "6", "school_id"],
        ["attendance_records.csv", "8", "status"],
        ["attendance_records.csv", "9", "student_id"],
    ]
    for file in first.files:
        assert file.read == file.inserted + file.updated + file.unchanged + file.rejected
