from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pytest

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.records import column_dtype
from edupulse_ml.core.tables import ATTENDANCE_STATUSES, DISCIPLINE_ACTIONS, EXIT_CODES, SUBJECTS
from edupulse_ml.core.weeks import NEVER, day_number
from edupulse_ml.storage.records import AuditAttributeReader, PostgresRecordReader
from tests.fakes.record_tables import parse
from tests.fakes.store_world import NOW, SCHOOLS, STUDENTS, World, counted_statements


def day(text: str) -> int:
    return day_number(parse("date", text))


def calendar(school: str, date: str, term: str, **more):
    return {"school_id": school, "date": date, "is_instructional": True, "term_id": term, "school_year": 2024, **more}


FILES = {
    "schools": [*SCHOOLS, {"school_id": "unvisited", "records_tardies": False}],
    "calendar": [
        calendar("north", "2025-01-08", "fall"),
        calendar("north", "2025-01-09", "spring", is_instructional=False, discipline_reported=False),
        calendar("south", "2025-01-14", "spring"),
        calendar("unvisited", "2024-01-01", "other", school_year=2023),
    ],
    "students": [*STUDENTS, {"student_id": "s3", "person_id": "p", "sex": "x"}],
    "enrollments": [
        {"student_id": "s1", "school_id": "south", "grade_level": 9, "entry_date": "2024-09-03"},
        {
            "student_id": "s2",
            "school_id": "north",
            "grade_level": 10,
            "entry_date": "2024-09-03",
            "exit_date": "2025-03-03",
            "exit_code": "dropout",
            "last_attended_date": "2025-02-28",
        },
    ],
    "attendance_records": [
        {
            "student_id": "s1",
            "date": "2025-01-08",
            "status": "tardy",
            "fraction_absent": 0.25,
            "recorded_at": "2025-01-09T04:59:59+00:00",
        },
        {"student_id": "s1", "date": "2025-01-08", "status": "present", "recorded_at": "2025-01-09T05:00:00+00:00"},
        {
            "student_id": "s2",
            "date": "2025-01-08",
            "status": "suspended_out",
            "recorded_at": "2025-01-08T20:00:00+00:00",
        },
    ],
    "grades": [
        {
            "student_id": student,
            "course_id": course,
            "subject": subject,
            "is_core": True,
            "term_id": term,
            "assignment_id": "a",
            "category": "quiz",
            "due_date": "2025-01-10",
            "recorded_at": "2025-01-10T20:00:00+00:00",
            **more,
        }
        for student, course, subject, term, more in [
            ("s1", "algebra", "math", "spring", {"score_pct": 80, "posted_at": "2025-01-12T02:00:00+00:00"}),
            ("s1", "english", "ela", "fall", {"submitted_at": "2025-01-10T12:00:00+00:00"}),
            ("s2", "algebra", "math", "spring", {}),
        ]
    ],
    "transcript": [
        {
            "student_id": "s1",
            "term_id": "fall",
            "course_id": "english",
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
            "is_major": False,
            "action": "OSS",
            "action_start": "2025-01-09",
            "action_days": 2,
        }
    ],
}


@pytest.fixture(scope="module")
def world(module_database_urls) -> World:
    world = World(module_database_urls)
    world.load(FILES)
    return world


def read(world: World, *students: str, as_of: datetime = NOW):
    async def work(database):
        reader = PostgresRecordReader(database)
        keys = await reader.find_students(students)
        return await reader.records_of([keys[student] for student in students], as_of=as_of)

    return world.run(work)


def with_reader(world: World, work):
    return world.run(lambda database: work(PostgresRecordReader(database)))


def test_unknown_students_are_absent(world):
    found = with_reader(world, lambda reader: reader.find_students(["s2", "ghost", "s1"]))
    assert sorted(found) == ["s1", "s2"]


def test_attendance_in_local_days(world):
    records = read(world, "s2", "s1")
    a = records.attendance
    order = np.lexsort((a.known_day, a.student))
    assert a.student[order].tolist() == [0, 1, 1]
    assert [ATTENDANCE_STATUSES[code] for code in a.status[order]] == ["suspended_out", "tardy", "present"]
    # 04:59:59 UTC is one second before midnight in New York.
    assert a.known_day[order].tolist() == [day("2025-01-08"), day("2025-01-08"), day("2025-01-09")]
    assert a.superseded_day[order].tolist() == [NEVER, day("2025-01-09"), NEVER]
    np.testing.assert_array_equal(a.fraction_absent[order], np.array([np.nan, 0.25, np.nan], np.float32))


def test_every_column_has_the_dtype_of_the_contract(world):
    records = read(world, "s1", "s2")
    for name in ("attendance", "grades", "transcript", "discipline", "enrollments"):
        events = getattr(records, name)
        for field in fields(events):
            assert getattr(events, field.name).dtype == column_dtype(field.name), (name, field.name)


def test_students_without_records_have_empty_columns(world):
    records = read(world, "s3")
    assert records.n_students == 1
    assert records.birth_day.tolist() == [NEVER]
    for name in ("attendance", "grades", "transcript", "discipline", "enrollments"):
        events = getattr(records, name)
        for field in fields(events):
            column = getattr(events, field.name)
            assert len(column) == 0
            assert column.dtype == column_dtype(field.name)
    assert records.calendars.is_instructional.shape == (3, 0)


def test_no_students_at_all(world):
    assert read(world).n_students == 0


def test_codes_are_equal_for_equal_ids_across_tables(world):
    records = read(world, "s1", "s2")
    grades, transcript, calendars = records.grades, records.transcript, records.calendars
    english = grades.course[grades.subject == SUBJECTS.index("ela")]
    algebra = grades.course[grades.subject == SUBJECTS.index("math")]
    assert transcript.course.tolist() == english.tolist()
    assert len({*algebra.tolist()}) == 1
    assert algebra[0] != english[0]
    fall = grades.term[grades.subject == SUBJECTS.index("ela")][0]
    spring = grades.term[grades.subject == SUBJECTS.index("math")][0]
    assert transcript.term.tolist() == [fall]
    first = calendars.first_day
    assert calendars.term[0, day("2025-01-08") - first] == fall
    assert calendars.term[0, day("2025-01-09") - first] == spring
    assert calendars.term[1, day("2025-01-14") - first] == spring


def test_grades_not_submitted_or_posted_are_never(world):
    grades = read(world, "s1", "s2").grades
    scored = ~np.isnan(grades.score_pct)
    assert grades.posted_day[scored].tolist() == [day("2025-01-11")]
    assert grades.posted_day[~scored].tolist() == [NEVER, NEVER]
    assert sorted(grades.submitted_day.tolist()) == [day("2025-01-10"), NEVER, NEVER]
    assert grades.points_weight.tolist() == [1.0, 1.0, 1.0]


def test_incidents(world):
    d = read(world, "s1", "s2").discipline
    assert (d.student[0], d.day[0], d.severity[0], d.is_objective[0], d.is_major[0]) == (
        1,
        day("2025-01-08"),
        3,
        True,
        False,
    )
    assert DISCIPLINE_ACTIONS[d.action[0]] == "OSS"
    assert (d.action_start_day[0], d.action_days[0], d.known_day[0]) == (day("2025-01-09"), 2.0, day("2025-01-11"))


def test_calendars_start_on_a_monday_and_hold_attended_schools_only(world):
    c = read(world, "s2").calendars
    assert c.first_day == day("2025-01-06")
    assert c.is_instructional.shape == (3, 4)
    assert c.is_instructional[0].tolist() == [False, False, True, False]
    assert c.discipline_reported[0].tolist() == [False, False, True, False]
    assert c.school_year[0].tolist() == [-1, -1, 2024, 2024]
    assert not c.is_instructional[1:].any()
    assert c.records_tardies.tolist() == [True, True, False]


def test_school_positions_are_those_of_the_district(world):
    assert with_reader(world, lambda reader: reader.school_ids()) == ["north", "south", "unvisited"]
    enrollments = read(world, "s1").enrollments
    assert enrollments.school.tolist() == [1]
    assert (enrollments.entry_day.tolist(), enrollments.exit_day.tolist()) == ([day("2024-09-03")], [NEVER])


class TestAsOf:
    def test_later_versions_and_supersedings_are_hidden(self, world):
        a = read(world, "s1", as_of=datetime(2025, 1, 9, 4, 59, 59, tzinfo=UTC)).attendance
        assert [ATTENDANCE_STATUSES[code] for code in a.status] == ["tardy"]
        assert a.superseded_day.tolist() == [NEVER]

    def test_nothing_was_known_before_the_first_record(self, world):
        records = read(world, "s1", "s2", as_of=datetime(2020, 1, 1, tzinfo=UTC))
        assert len(records.attendance.student) == len(records.enrollments.student) == 0

    def test_an_exit_is_not_known_before_it_happened(self, world):
        before = read(world, "s2", as_of=datetime(2025, 3, 3, 4, tzinfo=UTC)).enrollments
        assert before.exit_day.tolist() == [NEVER]
        after = read(world, "s2", as_of=datetime(2025, 3, 3, 6, tzinfo=UTC)).enrollments
        assert sorted(after.exit_day.tolist()) == [day("2025-03-03"), NEVER]


def test_exits(world):
    async def work(reader):
        keys = await reader.find_students(["s1", "s2"])
        return await reader.exits_of([keys["s2"], keys["s1"]], as_of=NOW)

    exits = with_reader(world, work)
    order = np.lexsort((exits.known_day, exits.student))
    assert exits.student[order].tolist() == [0, 0, 1]
    assert exits.exit_code[order].tolist() == [-1, EXIT_CODES.index("dropout"), -1]
    assert exits.last_attended_day[order].tolist() == [NEVER, day("2025-02-28"), NEVER]
    assert exits.exit_day[order].tolist() == [NEVER, day("2025-03-03"), NEVER]


def test_the_number_of_statements_does_not_depend_on_the_number_of_students(world, monkeypatch):
    def statements(*students: str) -> int:
        with counted_statements(monkeypatch) as counter:
            read(world, *students)
        return counter.count

    assert statements("s1") == statements("s1", "s2", "s3") < 20


class TestNames:
    def test_keys_of_a_school_year(self, world):
        async def work(reader):
            everyone = await reader.all_student_keys()
            return everyone, await reader.students_of_school_year(2024), await reader.students_of_school_year(2023)

        everyone, enrolled, none = with_reader(world, work)
        assert enrolled == everyone[:2]
        assert none == []

    def test_persons_and_identifiers_in_the_order_asked(self, world):
        async def work(reader):
            keys = (await reader.all_student_keys())[::-1]
            return await reader.person_ids(keys), await reader.student_ids(keys)

        assert with_reader(world, work) == (["p", "s2", "s1"], ["s3", "s2", "s1"])

    def test_audit_attributes_come_from_their_own_reader(self, world):
        async def work(database):
            keys = await PostgresRecordReader(database).all_student_keys()
            return await AuditAttributeReader(database).attribute_of(keys, attribute="sex")

        assert world.run(work) == ["f", None, "x"]


class TestRefused:
    def test_a_key_of_nobody(self, world):
        with pytest.raises(NotFoundError):
            with_reader(world, lambda reader: reader.records_of([10**9], as_of=NOW))
        with pytest.raises(NotFoundError):
            with_reader(world, lambda reader: reader.person_ids([10**9]))

    def test_a_key_named_twice(self, world):
        with pytest.raises(ValueError, match="once"):
            with_reader(world, lambda reader: reader.records_of([1, 1], as_of=NOW))

    def test_keys_of_another_district(self, world):
        other = World(world.urls, district="other")
        with pytest.raises(NotFoundError):
            with_reader(other, lambda reader: reader.records_of([1], as_of=NOW))
