"""Canonical tables -> `RecordSet` in memory, without a database: for benchmarks and tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from edupulse_ml.connectors.arrays import (
    UnresolvedReferenceError,
    choice_codes,
    day_numbers,
    distinct,
    flags,
    numbers,
    reference_codes,
    small_integers,
)
from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.connectors.calendars import dense_calendars
from edupulse_ml.connectors.checks import with_conclusions
from edupulse_ml.connectors.schemas import ARROW_TYPES, canonical_schema, constant_column, fill_defaults
from edupulse_ml.connectors.versions import Versions, chain_versions
from edupulse_ml.connectors.zones import local_days
from edupulse_ml.core.records import (
    AttendanceEvents,
    DisciplineEvents,
    EnrollmentEvents,
    ExitEvents,
    GradeEvents,
    Int32,
    RecordSet,
    TranscriptEvents,
)
from edupulse_ml.core.tables import (
    ATTENDANCE,
    ATTENDANCE_STATUSES,
    CALENDAR,
    DISCIPLINE,
    DISCIPLINE_ACTIONS,
    ENROLLMENTS,
    EXIT_CODES,
    GRADES,
    SCHOOLS,
    STUDENTS,
    SUBJECTS,
    TABLES,
    TRANSCRIPT,
    Table,
)
from edupulse_ml.core.weeks import NEVER


@dataclass(frozen=True)
class CanonicalRecords:
    """Records of all students of some tables. Position i of `student_ids` and `person_ids` is student i of
    `records` and `exits`; position s of `school_ids` is school s. A student without `person_id` is their own person.
    """

    student_ids: tuple[str, ...]
    person_ids: tuple[str, ...]
    school_ids: tuple[str, ...]
    records: RecordSet
    exits: ExitEvents


def records_from_tables(tables: Mapping[str, pa.Table], *, zone: ZoneInfo) -> CanonicalRecords:
    """The records that the store would read back after these tables were imported at once.

    Of one record, either all versions should have `recorded_at` or its only one none: a store takes an undated version
    beside dated ones for a correction made at the time of the import, which does not exist here.

    Args:
        tables: canonical tables by name (types of `schemas.canonical_schema`, `line` not needed). A table that is
            absent is empty; an optional column that is absent has its default.
        zone: the district's, in which moments become days.

    Raises:
        UnresolvedReferenceError: a row names an unknown student or school, or lacks a required value.
    """
    return _Assembly({table.name: _completed(table, tables.get(table.name), zone) for table in TABLES}, zone).records()


def _completed(table: Table, rows: pa.Table | None, zone: ZoneInfo) -> pa.Table:
    """The rows with all canonical columns, and what follows from them filled in."""
    schema = canonical_schema(table).remove(len(table.columns))
    if rows is None:
        return schema.empty_table()
    arrays = [
        fill_defaults(column, rows[column.name].cast(ARROW_TYPES[column.kind]))
        if column.name in rows.column_names
        else constant_column(column, len(rows))
        for column in table.columns
    ]
    completed = pa.table(arrays, schema=schema)
    for name in table.required_columns:
        if completed[name].null_count:
            raise UnresolvedReferenceError(f"{table.name} lacks a value of '{name}' in some rows; every row needs one.")
    return with_conclusions(table, completed, zone)


class _Assembly:
    """Turns completed tables into one set of arrays with shared codes."""

    def __init__(self, tables: Mapping[str, pa.Table], zone: ZoneInfo) -> None:
        self._tables = tables
        self._zone = zone
        self._students = tables[STUDENTS.name]["student_id"].combine_chunks()
        self._schools = tables[SCHOOLS.name]["school_id"].combine_chunks().unique().sort()
        self._terms = distinct(tables[name]["term_id"] for name in (CALENDAR.name, GRADES.name, TRANSCRIPT.name))
        self._courses = distinct(tables[name]["course_id"] for name in (GRADES.name, TRANSCRIPT.name))

    def records(self) -> CanonicalRecords:
        students = self._tables[STUDENTS.name]
        if len(self._students.unique()) != len(self._students):
            raise UnresolvedReferenceError("students names a student_id twice; it must be unique.")
        enrollments = self._versions(ENROLLMENTS)
        records = RecordSet(
            n_students=len(students),
            birth_day=day_numbers(students["birth_date"]),
            attendance=self._attendance(),
            grades=self._grades(),
            transcript=self._transcript(),
            discipline=self._discipline(),
            enrollments=self._enrollments(enrollments),
            calendars=dense_calendars(
                self._tables[SCHOOLS.name],
                self._tables[CALENDAR.name],
                school_ids=self._schools,
                term_ids=self._terms,
            ),
        )
        persons = pc.coalesce(students["person_id"], students["student_id"])
        return CanonicalRecords(
            student_ids=tuple(self._students.to_pylist()),
            person_ids=tuple(persons.to_pylist()),
            school_ids=tuple(self._schools.to_pylist()),
            records=records,
            exits=self._exits(enrollments),
        )

    def _versions(self, table: Table) -> Versions:
        return chain_versions(table, self._tables[table.name], self._zone)

    def _student(self, rows: pa.Table) -> Int32:
        return reference_codes(rows["student_id"], self._students, what="student")

    def _local(self, moments: pa.ChunkedArray) -> Int32:
        days = local_days(moments.cast(pa.int64()).fill_null(0).to_numpy(), self._zone)
        return np.where(moments.is_null().to_numpy(), NEVER, days).astype(np.int32)

    def _attendance(self) -> AttendanceEvents:
        found = self._versions(ATTENDANCE)
        rows = found.rows
        return AttendanceEvents(
            student=self._student(rows),
            day=day_numbers(rows["date"]),
            status=choice_codes(rows["status"], ATTENDANCE_STATUSES),
            fraction_absent=numbers(rows["fraction_absent"]),
            periods_absent=numbers(rows["periods_absent"]),
            periods_scheduled=numbers(rows["periods_scheduled"]),
            known_day=found.known_day,
            superseded_day=found.superseded_day,
        )

    def _grades(self) -> GradeEvents:
        found = self._versions(GRADES)
        rows = found.rows
        return GradeEvents(
            student=self._student(rows),
            course=reference_codes(rows["course_id"], self._courses, what="course"),
            subject=choice_codes(rows["subject"], SUBJECTS),
            is_core=flags(rows["is_core"]),
            term=reference_codes(rows["term_id"], self._terms, what="term"),
            due_day=day_numbers(rows["due_date"]),
            submitted_day=self._local(rows["submitted_at"]),
            posted_day=self._local(rows["posted_at"]),
            score_pct=numbers(rows["score_pct"]),
            points_weight=numbers(rows["points_weight"]),
            known_day=found.known_day,
            superseded_day=found.superseded_day,
        )

    def _transcript(self) -> TranscriptEvents:
        found = self._versions(TRANSCRIPT)
        rows = found.rows
        return TranscriptEvents(
            student=self._student(rows),
            term=reference_codes(rows["term_id"], self._terms, what="term"),
            course=reference_codes(rows["course_id"], self._courses, what="course"),
            is_core=flags(rows["is_core"]),
            credits_attempted=numbers(rows["credits_attempted"]),
            credits_earned=numbers(rows["credits_earned"]),
            final_pct=numbers(rows["final_pct"]),
            posted_day=self._local(rows["posted_at"]),
            known_day=found.known_day,
            superseded_day=found.superseded_day,
        )

    def _discipline(self) -> DisciplineEvents:
        found = self._versions(DISCIPLINE)
        rows = found.rows
        return DisciplineEvents(
            student=self._student(rows),
            day=day_numbers(rows["incident_date"]),
            is_objective=flags(rows["is_objective"]),
            severity=small_integers(rows["severity"]),
            is_major=flags(rows["is_major"]),
            action=choice_codes(rows["action"], DISCIPLINE_ACTIONS),
            action_start_day=day_numbers(rows["action_start"]),
            action_days=numbers(rows["action_days"]),
            known_day=found.known_day,
            superseded_day=found.superseded_day,
        )

    def _enrollments(self, found: Versions) -> EnrollmentEvents:
        rows = found.rows
        return EnrollmentEvents(
            student=self._student(rows),
            school=reference_codes(rows["school_id"], self._schools, what="school"),
            grade_level=small_integers(rows["grade_level"]),
            entry_day=day_numbers(rows["entry_date"]),
            exit_day=day_numbers(rows["exit_date"]),
            known_day=found.known_day,
            superseded_day=found.superseded_day,
        )

    def _exits(self, found: Versions) -> ExitEvents:
        rows = found.rows
        return ExitEvents(
            student=self._student(rows),
            entry_day=day_numbers(rows["entry_date"]),
            exit_day=day_numbers(rows["exit_date"]),
            exit_code=choice_codes(rows["exit_code"], EXIT_CODES),
            last_attended_day=day_numbers(rows["last_attended_date"]),
            known_day=found.known_day,
            superseded_day=found.superseded_day,
        )
