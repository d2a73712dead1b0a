"""What the check of the data counts: records by school and week, and nothing about any one student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, LiteralString
from zoneinfo import ZoneInfo

from psycopg import sql

from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.tables import ATTENDANCE, DISCIPLINE, ENROLLMENTS, GRADES, TRANSCRIPT, Table
from edupulse_ml.core.weeks import day_from_number, local_day
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.sql import load_queries

VERSIONED: Final = (ENROLLMENTS, ATTENDANCE, GRADES, TRANSCRIPT, DISCIPLINE)
"""Tables that keep every version of a row."""

_MISSING, _IMPOSSIBLE, _DUE = "missing_", "impossible_", "due_"
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "enrollments": ("student_key", "school_key", "entry_date"),
    "attendance_records": ("student_key", "date"),
    "grades": ("student_key", "assignment_id", "course_id", "term_id"),
    "transcript": ("student_key", "term_id", "course_id"),
    "discipline_incidents": ("student_key", "incident_id"),
}


@dataclass(frozen=True)
class SchoolWeek:
    """A school's week with school. `student_days` are enrolled students times school days; `undeclared_days` those on
    which the calendar says that incidents were not reported.
    """

    school_id: str
    week: date
    school_year: int
    school_days: int
    student_days: int
    undeclared_days: int


@dataclass(frozen=True)
class RecordWeek:
    """Records of one table of one school and week. `school_id` None: not attributable to a school, as where the student
    was on no roll. `latest` is the last `recorded_at`; `missing` and `impossible` count rows by what is wrong with them,
    `late` those recorded later than was asked about (None: the table has no such measure). `due` counts the rows that
    should have a column; columns that it does not name are due in every row.
    """

    school_id: str | None
    week: date
    rows: int
    latest: datetime
    late: int | None
    missing: Mapping[str, int]
    impossible: Mapping[str, int]
    due: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class ExitCount:
    """Exits of one school, school year and code; `gone` are those without a return by the next 1 October. Delays are
    days from the last day attended until the district first knew of the exit.
    """

    school_id: str
    school_year: int
    exit_code: str
    exits: int
    gone: int
    median_delay_days: int
    p90_delay_days: int


@dataclass(frozen=True)
class FeatureWeek:
    """Student-weeks of one school and week, and how many of them lack each feature, in the order of the contract."""

    school_id: str
    week: date
    school_year: int
    student_weeks: int
    missing: tuple[int, ...]


@dataclass(frozen=True)
class LateAfter:
    """What counts as late or too long, in days. `recorded` by table name; `unmarked_days` after the due date, work that
    was handed in should have a score.
    """

    recorded: Mapping[str, int]
    unmarked_days: int
    most_suspension_days: float


class DataCheckReader:
    """Counts over the records of the database's district as they were known at `as_of`."""

    def __init__(self, database: Database, *, zone: ZoneInfo, as_of: datetime) -> None:
        self._database = database
        self._queries = load_queries("data_checks")
        self._as_of: Mapping[str, Any] = {
            "as_of": as_of,
            "as_of_day": day_from_number(local_day(as_of, zone)),
            "zone": zone.key,
        }

    async def school_days(self) -> Mapping[str, Sequence[date]]:
        """Every day of school that the calendar names, by school, in order."""
        return dict(await self._rows(self._queries["school_days"]))

    async def school_weeks(self) -> Sequence[SchoolWeek]:
        """Ordered by school and week."""
        rows = await self._rows(self._with_roll("school_weeks"))
        return [SchoolWeek(*row) for row in rows]

    async def record_weeks(self, table: Table, *, late_after: LateAfter) -> Sequence[RecordWeek]:
        """Records of one of the tables in `VERSIONED`, in no order."""
        parameters = {
            "late_days": late_after.recorded.get(table.name, 0),
            "unmarked_days": late_after.unmarked_days,
            "most_suspension_days": late_after.most_suspension_days,
        }
        return [_record_week(row) for row in await self._named_rows(self._with_roll(table.name), parameters)]

    async def exits(self) -> Sequence[ExitCount]:
        """Ordered by school, school year and code."""
        return [ExitCount(*row) for row in await self._rows(self._queries["exits"])]

    async def overlapping_versions(self, table: Table) -> Mapping[date, int]:
        """Versions of one record that hold at the same moment, by the week of the record; weeks without any are
        absent.
        """
        statement = self._queries["overlapping_versions"].format(
            table=sql.Identifier(table.name),
            key=sql.SQL(", ").join(sql.Identifier(column) for column in _KEYS[table.name]),
            day=sql.SQL(_day_of(table)),
        )
        return dict(await self._rows(statement))

    async def missing_features(self, *, contract: FeatureContract, through_week: int) -> Sequence[FeatureWeek]:
        """Ordered by school and week, up to `through_week` (its Monday's day number)."""
        count = self._queries["one_missing_feature"]
        statement = self._queries["missing_features"].format(
            counts=sql.SQL(", ").join(
                count.format(position=sql.Literal(position)) for position in range(1, len(contract.feature_names) + 1)
            )
        )
        rows = await self._rows(statement, **_of_contract(contract, through_week))
        return [FeatureWeek(*row[:-1], missing=tuple(int(count) for count in row[-1])) for row in rows]

    async def not_materialised(self, *, contract: FeatureContract, through_week: int) -> tuple[int, int]:
        """Students whose stored weeks are not current through `through_week`, as of now, and all students."""
        ((pending, students),) = await self._rows(
            self._queries["not_materialised"], **_of_contract(contract, through_week)
        )
        return pending, students

    def _with_roll(self, query: str) -> sql.Composed:
        return self._queries[query].format(roll=self._queries["roll"])

    async def _rows(self, statement: sql.SQL | sql.Composed, **parameters: object) -> list[tuple[Any, ...]]:
        # Counting a district's history takes longer than the pool lets a statement run.
        async with self._database.dedicated() as connection:
            cursor = await connection.execute(statement, {**self._as_of, **parameters})
            return await cursor.fetchall()

    async def _named_rows(self, statement: sql.Composed, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        async with self._database.dedicated() as connection:
            cursor = await connection.execute(statement, {**self._as_of, **parameters})
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


def _of_contract(contract: FeatureContract, through_week: int) -> dict[str, object]:
    return {"contract_fingerprint": contract.fingerprint, "through_week": day_from_number(through_week)}


def _day_of(table: Table) -> LiteralString:
    """A record's own day, as an expression on `record`."""
    match table.name:
        case "transcript":
            return "(record.posted_at AT TIME ZONE %(zone)s)::date"
        case "enrollments":
            return "record.entry_date"
        case "grades":
            return "record.due_date"
        case "discipline_incidents":
            return "record.incident_date"
        case _:
            return "record.date"


def _record_week(row: Mapping[str, Any]) -> RecordWeek:
    def counts(prefix: str) -> dict[str, int]:
        return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}

    return RecordWeek(
        school_id=row["school_id"],
        week=row["week"],
        rows=row["n_rows"],
        latest=row["latest"],
        late=row.get("late"),
        missing=counts(_MISSING),
        impossible=counts(_IMPOSSIBLE),
        due=counts(_DUE),
    )
