"""`PostgresRecordReader`: dated records out of the store, as NumPy columns."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.ports import District
from edupulse_ml.core.records import (
    AttendanceEvents,
    DisciplineEvents,
    EnrollmentEvents,
    ExitEvents,
    GradeEvents,
    RecordSet,
    TranscriptEvents,
    column_dtype,
)
from edupulse_ml.core.tables import ATTENDANCE_STATUSES, DISCIPLINE_ACTIONS, EXIT_CODES, SUBJECTS
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.storage.calendars import School, assemble_calendars, school_positions
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.districts import read_district
from edupulse_ml.storage.local_days import LocalDays
from edupulse_ml.storage.sql import load_queries

Columns = Mapping[str, NDArray[Any]]
Events = TypeVar(
    "Events", AttendanceEvents, GradeEvents, TranscriptEvents, DisciplineEvents, EnrollmentEvents, ExitEvents
)

_MOMENTS: Final = frozenset({"known_day", "superseded_day", "submitted_day", "posted_day"})
_VOCABULARIES: Final = {
    "statuses": list(ATTENDANCE_STATUSES),
    "subjects": list(SUBJECTS),
    "actions": list(DISCIPLINE_ACTIONS),
    "exit_codes": list(EXIT_CODES),
}
_EVENT_QUERIES: Final = ("attendance", "grades", "transcript", "discipline", "enrollments", "calendar", "students")


class UnknownStudentKeyError(NotFoundError):
    """A student key that this district does not have."""


class PostgresRecordReader:
    """`core.ports.RecordReader` of the database's district.

    School positions are those of the whole district (`school_ids`), in every record set; calendars of schools that
    the students asked for never attended are empty. Keys must be distinct.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("records")
        self._district: District | None = None
        self._local_days: LocalDays | None = None

    async def district(self) -> District:
        """The district; read once.

        Raises:
            NotFoundError: it has not been created.
        """
        if self._district is None:
            self._district = await read_district(self._database)
            self._local_days = LocalDays(ZoneInfo(self._district.timezone))
        return self._district

    async def find_students(self, student_ids: Sequence[StudentId]) -> Mapping[StudentId, StudentKey]:
        """Keys of the known students; unknown ids are absent."""
        rows = await self._rows("find_students", student_ids=list(student_ids))
        return {StudentId(student_id): StudentKey(key) for student_id, key in rows}

    async def records_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> RecordSet:
        """All that was recorded about these students at `as_of` or before; position i = keys[i].

        Raises:
            UnknownStudentKeyError: the district has no student with one of the keys.
            ValueError: a key is named twice.
        """
        parameters = {"keys": list(keys), "as_of": as_of, **_VOCABULARIES}
        days = await self._days()
        order = KeyOrder(keys)
        async with self._database.transaction(snapshot=True) as connection:
            schools = await _schools(connection)
            found = {name: await _columns(connection, name, parameters) for name in _EVENT_QUERIES}
        codes = {
            "term": _Codes(found["grades"], found["transcript"], found["calendar"], column="term"),
            "course": _Codes(found["grades"], found["transcript"], column="course"),
        }
        positions = {
            "student": order.positions,
            "school": school_positions(schools),
            **{name: code.positions for name, code in codes.items()},
        }
        return RecordSet(
            n_students=len(keys),
            birth_day=_birth_days(found["students"], order),
            attendance=_events(AttendanceEvents, found["attendance"], positions, days),
            grades=_events(GradeEvents, found["grades"], positions, days),
            transcript=_events(TranscriptEvents, found["transcript"], positions, days),
            discipline=_events(DisciplineEvents, found["discipline"], positions, days),
            enrollments=_events(EnrollmentEvents, found["enrollments"], positions, days),
            calendars=assemble_calendars(found["calendar"], schools, term_positions=codes["term"].positions),
        )

    async def exits_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> ExitEvents:
        """How these students' enrolments ended, as known at `as_of`; for labels only.

        Raises:
            ValueError: a key is named twice.
        """
        days = await self._days()
        order = KeyOrder(keys)
        async with self._database.connection() as connection:
            found = await _columns(connection, "exits", {"keys": list(keys), "as_of": as_of, **_VOCABULARIES})
        return _events(ExitEvents, found, {"student": order.positions}, days)

    async def school_ids(self) -> list[str]:
        """The district's schools; position = school in record sets and feature blocks. New schools come last."""
        return [school_id for _, school_id, _ in await self._rows("schools")]

    async def all_student_keys(self) -> list[StudentKey]:
        """Every student of the district, in the order in which they were first imported."""
        return [StudentKey(key) for (key,) in await self._rows("all_student_keys")]

    async def students_of_school_year(self, school_year: int) -> list[StudentKey]:
        """Students enrolled during the school year that starts in calendar year `school_year`, as known today."""
        return [StudentKey(key) for (key,) in await self._rows("students_of_school_year", school_year=school_year)]

    async def student_ids(self, keys: Sequence[StudentKey]) -> list[StudentId]:
        """The district's own identifiers, in the order of the keys.

        Raises:
            UnknownStudentKeyError: the district has no student with one of the keys.
        """
        names = {key: StudentId(student_id) for key, student_id, _ in await self._names(keys)}
        return [names[key] for key in keys]

    async def person_ids(self, keys: Sequence[StudentKey]) -> list[str]:
        """The person behind each student, to keep one person's enrolments together; the student's own identifier
        where the district names no person.

        Raises:
            UnknownStudentKeyError: the district has no student with one of the keys.
        """
        names = {key: person_id or student_id for key, student_id, person_id in await self._names(keys)}
        return [names[key] for key in keys]

    async def _names(self, keys: Sequence[StudentKey]) -> list[tuple[Any, ...]]:
        rows = await self._rows("student_names", keys=list(keys))
        if len(rows) < len(set(keys)):
            raise _unknown_key()
        return rows

    async def _days(self) -> LocalDays:
        district = await self.district()
        if self._local_days is None:
            self._local_days = LocalDays(ZoneInfo(district.timezone))
        return self._local_days

    async def _rows(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query], parameters)
            return await cursor.fetchall()


class AuditAttributeReader:
    """Attributes for the fairness audit. Kept apart, so that nothing that scores can reach them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def attribute_of(self, keys: Sequence[StudentKey], *, attribute: str) -> list[str | None]:
        """The attribute's value per student (`core.tables.AUDIT_ATTRIBUTES`), None where the district gave none."""
        query = load_queries("records")["audit_attributes"]
        async with self._database.connection() as connection:
            cursor = await connection.execute(query, {"keys": list(keys), "attribute": attribute})
            values: dict[int, str] = dict(await cursor.fetchall())
        return [values.get(key) for key in keys]


class KeyOrder:
    """Positions of student keys in the order asked."""

    def __init__(self, keys: Sequence[StudentKey]) -> None:
        asked = np.asarray(keys, dtype=np.int64)
        self._order = np.argsort(asked, kind="stable").astype(np.int32)
        self._sorted = asked[self._order]
        if len(asked) > 1 and (np.diff(self._sorted) == 0).any():
            msg = "a student may be asked for only once"
            raise ValueError(msg)

    def positions(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._order[np.searchsorted(self._sorted, keys)]

    def __len__(self) -> int:
        return len(self._order)


class _Codes:
    """Small codes for hashed identifiers, shared by several tables."""

    def __init__(self, *tables: Columns, column: str) -> None:
        hashes = [table[column] for table in tables if table]
        self._known = np.unique(np.concatenate(hashes)) if hashes else np.empty(0, dtype=np.int64)

    def positions(self, hashes: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.searchsorted(self._known, hashes).astype(np.int32)


async def _schools(connection: Connection) -> list[School]:
    cursor = await connection.execute(load_queries("records")["schools"])
    return [School(key, records_tardies=tardies) for key, _, tardies in await cursor.fetchall()]


async def _columns(connection: Connection, query: str, parameters: Mapping[str, object]) -> Columns:
    """Arrays by column name; empty where no row was found."""
    cursor = await connection.execute(load_queries("records")[query], parameters, binary=True)
    row = await cursor.fetchone()
    if row is None or row[0] is None or cursor.description is None:
        return {}
    return {column.name: values for column, values in zip(cursor.description, row, strict=True)}


def _birth_days(found: Columns, order: KeyOrder) -> NDArray[np.int32]:
    birth_day = np.full(len(order), NEVER, dtype=np.int32)
    if len(found.get("student", ())) != len(order):
        raise _unknown_key()
    if found:
        birth_day[order.positions(found["student"])] = found["birth_day"]
    return birth_day


def _unknown_key() -> UnknownStudentKeyError:
    return UnknownStudentKeyError(
        "A student key is not of this district: look keys up with `find_students` of the same district."
    )


def _events(kind: type[Events], found: Columns, positions: Mapping[str, Any], days: LocalDays) -> Events:
    """One event set; `positions` turns keys and hashes of a column into positions and codes."""
    columns: dict[str, NDArray[Any]] = {}
    for name in (field.name for field in fields(kind)):
        if not found:
            columns[name] = np.empty(0, dtype=column_dtype(name))
        elif name in _MOMENTS:
            columns[name] = days(found[name])
        elif name in positions:
            columns[name] = positions[name](found[name])
        else:
            columns[name] = found[name].astype(column_dtype(name))
    return kind(**columns)
