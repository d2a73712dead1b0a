"""Record sets out of rows: the queries of `queries/records.sql`, and what becomes of the arrays that they return."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Final, LiteralString, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import StudentKey
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
from edupulse_ml.storage.connection import Connection
from edupulse_ml.storage.local_days import LocalDays
from edupulse_ml.storage.sql import load_queries

Columns = Mapping[str, NDArray[Any]]
RecordQueries = Mapping[str, sql.SQL]
"""The queries of `queries/records.sql` by name, over the tables as they are or as they were."""
Events = TypeVar(
    "Events", AttendanceEvents, GradeEvents, TranscriptEvents, DisciplineEvents, EnrollmentEvents, ExitEvents
)

_MOMENTS: Final = frozenset({"known_day", "superseded_day", "submitted_day", "posted_day"})
VOCABULARIES: Final = {
    "statuses": list(ATTENDANCE_STATUSES),
    "subjects": list(SUBJECTS),
    "actions": list(DISCIPLINE_ACTIONS),
    "exit_codes": list(EXIT_CODES),
}
_TABLE_OF: Final = {
    "attendance": "attendance_records",
    "grades": "grades",
    "transcript": "transcript",
    "discipline": "discipline_incidents",
    "enrollments": "enrollments",
    "calendar": "calendar",
    "students": "students",
}
SCHOOLS: Final = "schools"


class UnknownStudentKeyError(NotFoundError):
    """A student key that this district does not have."""


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


@cache
def present_queries() -> RecordQueries:
    """The queries over the tables as they are."""
    return compose_queries({name: sql.Identifier(name) for name in (*_TABLE_OF.values(), SCHOOLS)})


def compose_queries(sources: Mapping[str, sql.Composable]) -> RecordQueries:
    """The queries with `sources` in place of the tables of these names."""
    queries = load_queries("records")
    composed = {
        name: queries[name].format(**{table: sources[table]})
        for name, table in (*_TABLE_OF.items(), (SCHOOLS, SCHOOLS))
    }
    # Composed once and kept as text, which is quicker to send; it holds nothing that a caller could have given.
    texts = {name: sql.SQL(cast("LiteralString", query.as_string(None))) for name, query in composed.items()}
    return {**queries, **texts}


async def read_records(
    connection: Connection,
    queries: RecordQueries,
    keys: Sequence[StudentKey],
    *,
    parameters: Mapping[str, object],
    days: LocalDays,
) -> RecordSet:
    """The records of these students, position i = keys[i], as `queries` give them with `parameters`. To be called
    inside a transaction that sees one state of the tables.

    Raises:
        UnknownStudentKeyError: the district has no student with one of the keys.
        ValueError: a key is named twice.
    """
    order = KeyOrder(keys)
    given = {"keys": list(keys), **VOCABULARIES, **parameters}
    cursor = await connection.execute(queries[SCHOOLS], given)
    schools = [School(key, records_tardies=tardies) for key, _, tardies in await cursor.fetchall()]
    found = {name: await columns_of(connection, queries[name], given) for name in _TABLE_OF}
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
        attendance=events_of(AttendanceEvents, found["attendance"], positions, days),
        grades=events_of(GradeEvents, found["grades"], positions, days),
        transcript=events_of(TranscriptEvents, found["transcript"], positions, days),
        discipline=events_of(DisciplineEvents, found["discipline"], positions, days),
        enrollments=events_of(EnrollmentEvents, found["enrollments"], positions, days),
        calendars=assemble_calendars(found["calendar"], schools, term_positions=codes["term"].positions),
    )


async def columns_of(connection: Connection, query: sql.SQL, parameters: Mapping[str, object]) -> Columns:
    """Arrays by column name; empty where no row was found."""
    cursor = await connection.execute(query, parameters, binary=True)
    row = await cursor.fetchone()
    if row is None or row[0] is None or cursor.description is None:
        return {}
    return {column.name: values for column, values in zip(cursor.description, row, strict=True)}


def _birth_days(found: Columns, order: KeyOrder) -> NDArray[np.int32]:
    birth_day = np.full(len(order), NEVER, dtype=np.int32)
    if len(found.get("student", ())) != len(order):
        raise unknown_key()
    if found:
        birth_day[order.positions(found["student"])] = found["birth_day"]
    return birth_day


def unknown_key() -> UnknownStudentKeyError:
    """The error for a key that the district does not have."""
    return UnknownStudentKeyError(
        "A student key is not of this district: look keys up with `find_students` of the same district."
    )


def events_of(kind: type[Events], found: Columns, positions: Mapping[str, Any], days: LocalDays) -> Events:
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
