"""`PostgresRecordReader`: dated records out of the store, as NumPy columns."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.ports import District
from edupulse_ml.core.records import ExitEvents, RecordSet
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.districts import read_district
from edupulse_ml.storage.local_days import LocalDays
from edupulse_ml.storage.record_sets import (
    SCHOOLS,
    VOCABULARIES,
    KeyOrder,
    UnknownStudentKeyError,
    columns_of,
    events_of,
    present_queries,
    read_records,
    unknown_key,
)
from edupulse_ml.storage.sql import load_queries

__all__ = ["AuditAttributeReader", "KeyOrder", "PostgresRecordReader", "UnknownStudentKeyError"]


class PostgresRecordReader:
    """`core.ports.RecordReader` of the database's district.

    School positions are those of the whole district (`school_ids`), in every record set; calendars of schools that
    the students asked for never attended are empty. Keys must be distinct.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = present_queries()
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
        days = await self._days()
        async with self._database.transaction(snapshot=True) as connection:
            return await read_records(connection, present_queries(), keys, parameters={"as_of": as_of}, days=days)

    async def exits_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> ExitEvents:
        """How these students' enrolments ended, as known at `as_of`; for labels only.

        Raises:
            ValueError: a key is named twice.
        """
        days = await self._days()
        order = KeyOrder(keys)
        async with self._database.connection() as connection:
            parameters = {"keys": list(keys), "as_of": as_of, **VOCABULARIES}
            found = await columns_of(connection, self._queries["exits"], parameters)
        return events_of(ExitEvents, found, {"student": order.positions}, days)

    async def school_ids(self) -> list[str]:
        """The district's schools; position = school in record sets and feature blocks. New schools come last."""
        return [school_id for _, school_id, _ in await self._rows(SCHOOLS)]

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
            raise unknown_key()
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
