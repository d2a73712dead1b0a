"""A fresh database with a district, and short ways to load records and to look at what was stored."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg.rows import dict_row

from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.districts import ensure_district
from edupulse_ml.storage.loading import LoadResult, RecordLoader
from tests.fakes.clocks import FixedClock
from tests.fakes.record_tables import chunk

NOW = datetime(2025, 6, 2, 15, tzinfo=UTC)
Rows = Sequence[Mapping[str, object]]

SCHOOLS = [{"school_id": "north", "name": "North"}, {"school_id": "south"}]
STUDENTS = [{"student_id": "s1", "birth_date": "2009-05-01", "sex": "f"}, {"student_id": "s2"}]


@dataclass
class StatementCounter:
    """Statements sent since it was made, those of the connection check and of BEGIN and COMMIT not among them."""

    count: int = 0


@contextmanager
def counted_statements(monkeypatch) -> Iterator[StatementCounter]:
    """Count what psycopg's async connections execute inside the block."""
    counter = StatementCounter()
    execute = psycopg.AsyncConnection.execute

    async def counting(self, query, *args, **kwargs):
        counter.count += query != ""
        return await execute(self, query, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "execute", counting)
        yield counter


class World:
    """One district of one database."""

    def __init__(self, urls, *, district: str = "demo") -> None:
        self.urls = urls
        self.district = DistrictId(district)
        self.clock = FixedClock(NOW)
        self.touched: list[str] = []

    def load(self, files: Mapping[str, Rows], *, fail: Exception | None = None) -> dict[str, LoadResult]:
        async def work(database: Database) -> dict[str, LoadResult]:
            async with RecordLoader(database, clock=self.clock).session("test") as session:
                results = {
                    name: await session.load(name, f"{name}.csv", [chunk(name, rows)]) for name, rows in files.items()
                }
                if fail is not None:
                    raise fail
            self.touched = list(session.touched_students)
            return results

        return self.run(work)

    def load_one(self, name: str, *rows: Mapping[str, object]) -> LoadResult:
        return self.load({name: rows})[name]

    def run(self, work):
        async def main():
            async with Database(self.urls.app_url, district_id=self.district) as database:
                await ensure_district(database, timezone="America/New_York")
                return await work(database)

        return asyncio.run(main())

    def rows(self, query: str) -> list[dict[str, object]]:
        with psycopg.connect(self.urls.admin_url, row_factory=dict_row, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()

    def execute(self, statements: str) -> None:
        """Change rows behind the application's back."""
        with psycopg.connect(self.urls.admin_url, autocommit=True) as connection:
            connection.execute(statements)

    def values(self, query: str) -> list[object]:
        return [next(iter(row.values())) for row in self.rows(query)]
