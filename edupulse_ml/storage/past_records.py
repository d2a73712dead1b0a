"""`PastRecordReader`: records as they stood after an earlier import, whatever was imported since."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final, LiteralString
from zoneinfo import ZoneInfo

from psycopg import sql

from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.records import RecordSet
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.districts import read_district
from edupulse_ml.storage.local_days import LocalDays
from edupulse_ml.storage.merging import PLANS, MergePlan
from edupulse_ml.storage.record_sets import RecordQueries, compose_queries, read_records
from edupulse_ml.storage.sql import load_queries

UNCERTAIN_WITHIN: Final = timedelta(minutes=1)
"""A prediction is dated when its answer was made, shortly after its records were read, and by another machine's clock
than an import may be."""


class PastRecordReader:
    """Reads what was known about students of the database's district after one of its imports.

    A moment alone does not say so: an import may bring records that the district's system knew earlier, and the tables
    count them as known then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._zone: str | None = None

    async def records_of(
        self, keys: Sequence[StudentKey], *, as_of: datetime, last_import: int, corrected_since: datetime | None = None
    ) -> RecordSet:
        """All that was recorded about these students at `as_of` or before and had been imported by `last_import`;
        position i = keys[i]. With `corrected_since`, without what became known after that moment about times before it:
        corrections, and records that came later than is usual for their table.

        Raises:
            UnknownStudentKeyError: the district has no student with one of the keys.
            ValueError: a key is named twice.
        """
        zone = await self._zone_name()
        parameters = {"as_of": as_of, "last_import": last_import, "since": corrected_since, "zone": zone}
        queries = _past_queries() if corrected_since is None else _uncorrected_queries()
        async with self._database.transaction(snapshot=True) as connection:
            return await read_records(connection, queries, keys, parameters=parameters, days=LocalDays(ZoneInfo(zone)))

    async def last_import(self, moment: datetime) -> int:
        """The last import that was stored by `moment`; 0 before the first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(load_queries("past_records")["last_import"], {"moment": moment})
            ((found,),) = await cursor.fetchall()
        return found

    async def possible_imports(self, moment: datetime) -> list[int]:
        """Last imports that a reader of `moment` may have seen, the likeliest first: one, unless an import ended within
        `UNCERTAIN_WITHIN` of it.
        """
        likeliest = await self.last_import(moment)
        parameters = {"moment": moment, "within_s": UNCERTAIN_WITHIN.total_seconds()}
        async with self._database.connection() as connection:
            cursor = await connection.execute(load_queries("past_records")["imports_near"], parameters)
            near = [found for (found,) in await cursor.fetchall()]
        before = [await self.last_import(moment - UNCERTAIN_WITHIN)] if near else []
        return list(dict.fromkeys([likeliest, *near, *before]))

    async def _zone_name(self) -> str:
        if self._zone is None:
            self._zone = (await read_district(self._database)).timezone
        return self._zone


@cache
def _past_queries() -> RecordQueries:
    return _composed("versions")


@cache
def _uncorrected_queries() -> RecordQueries:
    return _composed("uncorrected_versions")


def _composed(versions: str) -> RecordQueries:
    past = load_queries("past_records")
    dated = {name: _of_table(past[versions], plan) for name, plan in PLANS.items()}
    return compose_queries({**dated, **{name: past[name] for name in ("schools", "calendar", "students")}})


def _of_table(query: sql.SQL, plan: MergePlan) -> sql.Composed:
    def each(template: LiteralString, columns: Sequence[str], *, joined: LiteralString) -> sql.Composed:
        return sql.SQL(joined).join(sql.SQL(template).format(column=sql.Identifier(name)) for name in columns)

    fills = "(latest.{column} IS NULL OR latest.{column} IS NOT DISTINCT FROM counted.{column})"
    return query.format(
        table=sql.Identifier(plan.table.name),
        columns=each("{column}", plan.columns, joined=", "),
        key=each("{column}", plan.key, joined=", "),
        same_key=each("latest.{column} = counted.{column}", plan.key, joined=" AND "),
        usual_moment=plan.usual_moment("counted"),
        only_fills=each(fills, plan.values, joined=" AND "),
    )
