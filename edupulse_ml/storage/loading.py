"""Import of record files: one session is one transaction, so an interrupted import leaves nothing behind."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import EduPulseError, InvalidInputError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.tables import AUDIT_ATTRIBUTES, TABLES_BY_NAME, Table
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.direct_months import DirectMonths
from edupulse_ml.storage.districts import read_district
from edupulse_ml.storage.file_copy import CopiedRows, FileCopy
from edupulse_ml.storage.merging import (
    PLANS,
    SPLITS_CLOSED_ROWS,
    MergePlan,
    attribute_upsert,
    create_stage,
    duplicate_lines,
)
from edupulse_ml.storage.references import KeyMap
from edupulse_ml.storage.sql import load_queries
from edupulse_ml.storage.staging import ArrowChunk, RejectedRow

_STATISTICS_FROM_ROWS: Final = 10_000
"""A file that changes so many rows makes the planner's statistics stale."""
_FEW_ROWS: Final = 100_000
"""So many stored rows are faster looked up one by one than met while reading whole months."""
_DUPLICATE: Final = "another line of this file has the same key"
_CONFLICT: Final = "another version with the same recorded_at is stored"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LoadResult:
    """What became of one file's rows. `inserted` + `updated` + `unchanged` + len(`rejects`) rows were read, except
    that a row with several faults is rejected once per fault.
    """

    inserted: int
    updated: int
    unchanged: int
    rejects: list[RejectedRow]


class RecordLoader:
    """Opens import sessions for the database's district."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @asynccontextmanager
    async def session(
        self, source: str, *, on_commit: Callable[[Sequence[StudentId]], Awaitable[None]] | None = None
    ) -> AsyncGenerator["LoadSession", None]:
        """One import; committed when the block ends, rolled back when it raises. `source` says where the files came
        from, for the list of imports. A second import of the district waits for the first. `on_commit` hears of the
        students whose records changed as soon as everybody sees the changes, before anything else is done.

        Raises:
            DependencyDownError: PostgreSQL does not answer.
            NotFoundError: the district has not been created.
        """
        queries = load_queries("loading")
        district = await read_district(self._database)
        async with self._database.dedicated() as connection, connection.transaction():
            await connection.execute(queries["take_import_lock"])
            await connection.execute(queries["set_work_memory"])
            await connection.execute(queries["create_changes"])
            session = LoadSession(self._database, connection, clock=self._clock, zone=district.timezone)
            await session.begin(source)
            yield session
            await session.finish()
        if on_commit is not None:
            await on_commit(session.touched_students)
        await session.refresh_statistics()


class LoadSession:
    """Loads files of one import, in the order of `core.tables.TABLES`."""

    def __init__(self, database: Database, connection: Connection, *, clock: Clock, zone: str) -> None:
        self._database = database
        self._connection = connection
        self._clock = clock
        self._zone = zone
        self._queries = load_queries("loading")
        self._import_id = 0
        self._summary: dict[str, dict[str, int]] = {}
        self._grown: set[str] = set()
        self._attached: set[str] = set()
        self._keys = {"student_id": KeyMap("student_keys"), "school_id": KeyMap("school_keys")}
        self.touched_students: list[StudentId] = []
        """Students whose records changed; known once the session has ended."""

    async def load(self, table_name: str, file_name: str, chunks: Iterable[ArrowChunk]) -> LoadResult:
        """Merge one file into its table; the rows it cannot hold are in the result, the others are stored.

        Raises:
            InvalidInputError: there is no such table.
        """
        if table_name not in TABLES_BY_NAME:
            raise InvalidInputError(f"There is no record table {table_name!r}; use one of {', '.join(TABLES_BY_NAME)}.")
        table = TABLES_BY_NAME[table_name]
        await self._connection.execute(create_stage(table))
        plan = PLANS.get(table_name)
        months = (
            DirectMonths(self._database, self._connection, plan, keeps_lock=table_name in self._attached)
            if plan is not None and plan.is_split_by_month
            else None
        )
        copy = FileCopy(self._connection, table, file_name=file_name, keys=self._keys, plan=plan, months=months)
        await copy.run(chunks)
        if months is not None and months.are_some_direct:
            taken = await months.attach(repeated=copy.copied.n_repeated > 0)
            copy.copied.n_direct -= taken
            copy.copied.n_staged += taken
            self._attached.add(table_name)
        rejects = copy.stager.rows.rejects + copy.copied.rejects
        if copy.copied.n_staged:
            await self._connection.execute(self._queries["analyze_stage"])
        if plan is None:
            inserted, updated, refused = await self._upsert(table, file_name)
        else:
            are_new = months is not None and months.are_new
            inserted, updated, refused = await self._merge_dated(plan, copy.copied, file_name, are_new=are_new)
        rejects += refused
        await self._connection.execute(self._queries["drop_stage"])
        rejected_lines = len({reject.line for reject in rejects})
        unchanged = copy.stager.rows.n_read - inserted - updated - rejected_lines
        result = LoadResult(inserted, updated, unchanged, rejects)
        self._note(table_name, result)
        return result

    async def begin(self, source: str) -> None:
        """Number the import, so that its rows say which one brought them; called by `RecordLoader.session`."""
        cursor = await self._connection.execute(
            self._queries["begin_import"], {"source": source, "started_at": self._clock.now()}
        )
        ((self._import_id, _),) = await cursor.fetchall()

    async def finish(self) -> None:
        """Queue the touched students for new features and record the import; called by `RecordLoader.session`."""
        await self._connection.execute(self._queries["queue_changes"], {"zone": self._zone})
        cursor = await self._connection.execute(self._queries["touched_students"])
        self.touched_students = [StudentId(row[0]) for row in await cursor.fetchall()]
        await self._connection.execute(
            self._queries["finish_import"],
            {"import_id": self._import_id, "finished_at": self._clock.now(), "summary": Jsonb(self._summary)},
        )

    async def refresh_statistics(self) -> None:
        """Fresh planner statistics for the tables that grew much; after the commit, which a failure here leaves as it
        is: autovacuum refreshes them later.
        """
        if not self._grown:
            return
        try:
            async with self._database.dedicated() as connection:
                await connection.execute(self._queries["sample_less"])
                for table in sorted(self._grown):
                    await connection.execute(self._queries["refresh_statistics"], {"table": table})
        except EduPulseError as error:
            _log.warning("statistics_not_refreshed", error=type(error).__name__, tables=len(self._grown))

    async def _merge_dated(
        self, plan: MergePlan, copied: CopiedRows, file_name: str, *, are_new: bool
    ) -> tuple[int, int, list[RejectedRow]]:
        """Returns the lines inserted and updated, those stored directly among them, and the lines refused."""
        inserted, updated = copied.n_direct, 0
        rejects: list[RejectedRow] = []
        if copied.n_without_moment < copied.n_staged:
            source = plan.staged(with_moment=True)
            if not are_new:
                await self._drop_unchanged(plan)
            more_inserted, updated = await self._merge(plan, source, file_name, rejects, are_new=are_new)
            inserted += more_inserted
        if copied.n_without_moment:
            await self._assign_moments(plan, file_name, rejects)
            more_inserted, more_updated = await self._merge(plan, plan.assigned(), file_name, rejects)
            inserted, updated = inserted + more_inserted, updated + more_updated
            await self._connection.execute(self._queries["drop_assigned"])
        return inserted, updated, rejects

    async def _drop_unchanged(self, plan: MergePlan) -> None:
        await self._connection.execute(plan.compose("find_repeated"))
        cursor = await self._connection.execute(plan.compose("drop_unchanged"))
        await self._connection.execute(self._queries["drop_repeated"])
        if cursor.rowcount:
            await self._connection.execute(self._queries["analyze_stage"])

    async def _assign_moments(self, plan: MergePlan, file_name: str, rejects: list[RejectedRow]) -> None:
        moments = {"now": self._clock.now(), "zone": self._zone}
        await self._connection.execute(plan.compose("assign_moments", source=plan.staged(with_moment=False)), moments)
        if plan.table.name == SPLITS_CLOSED_ROWS:
            await self._connection.execute(self._queries["split_closed_enrollments"], moments)
            await self._connection.execute(self._queries["move_closed_enrollments"], moments)
        cursor = await self._connection.execute(self._queries["assigned_duplicates"])
        rejects += [RejectedRow(file_name, row[0], "", _DUPLICATE) for row in await cursor.fetchall()]

    async def _merge(
        self,
        plan: MergePlan,
        source: sql.Composable,
        file_name: str,
        rejects: list[RejectedRow],
        *,
        are_new: bool = False,
    ) -> tuple[int, int]:
        """Returns how many lines were inserted and how many updated a known key. `are_new`: it is known that none did."""
        is_empty = are_new or bool(await self._value(plan.compose("is_empty")))
        single = await self._insert_single_versions(plan, source) if is_empty else 0
        await self._connection.execute(
            plan.compose("merge_versions", source=source, only_several=is_empty), {"has_rows": not is_empty}
        )
        cursor = await self._connection.execute(self._queries["count_outcome"])
        ((inserted, updated, chained),) = await cursor.fetchall()
        if chained:
            await self._close_versions(plan, few=chained <= _FEW_ROWS)
        await self._connection.execute(plan.compose("insert_versions"))
        await self._connection.execute(self._queries["note_versions"])
        cursor = await self._connection.execute(self._queries["rejected_outcome"])
        rejects += [
            RejectedRow(file_name, line, "recorded_at" if conflicts else "", _CONFLICT if conflicts else _DUPLICATE)
            for line, conflicts in await cursor.fetchall()
        ]
        await self._connection.execute(self._queries["drop_outcome"])
        if is_empty:
            await self._connection.execute(self._queries["drop_several"])
        return single + inserted, updated

    async def _close_versions(self, plan: MergePlan, *, few: bool) -> None:
        if few:
            await self._connection.execute(self._queries["prefer_lookups"])
        await self._connection.execute(plan.compose("close_versions"))
        if few:
            await self._connection.execute(self._queries["prefer_nothing"])

    async def _insert_single_versions(self, plan: MergePlan, source: sql.Composable) -> int:
        await self._connection.execute(plan.compose("several_versions", source=source))
        cursor = await self._connection.execute(plan.compose("insert_single_versions", source=source))
        await self._connection.execute(plan.compose("note_single_versions", source=source))
        return cursor.rowcount

    async def _upsert(self, table: Table, file_name: str) -> tuple[int, int, list[RejectedRow]]:
        cursor = await self._connection.execute(duplicate_lines(table))
        rejects = [RejectedRow(file_name, row[0], "", _DUPLICATE) for row in await cursor.fetchall()]
        statement = load_queries("upserts")[table.name]
        if table.name != "students":
            parameters = {"zone": self._zone} if table.name == "calendar" else {}
            cursor = await self._connection.execute(statement, parameters)
            ((inserted, updated),) = await cursor.fetchall()
            return inserted, updated, rejects
        cursor = await self._connection.execute(statement)
        written: dict[str, bool] = dict(await cursor.fetchall())
        cursor = await self._connection.execute(attribute_upsert(AUDIT_ATTRIBUTES))
        for (student_id,) in await cursor.fetchall():
            written.setdefault(student_id, False)
        inserted = sum(written.values())
        return inserted, len(written) - inserted, rejects

    async def _value(self, statement: sql.Composed) -> Any:
        cursor = await self._connection.execute(statement)
        ((value,),) = await cursor.fetchall()
        return value

    def _note(self, table_name: str, result: LoadResult) -> None:
        counts = {name: value for name, value in asdict(result).items() if name != "rejects"}
        self._summary[table_name] = {**counts, "rejected": len({reject.line for reject in result.rejects})}
        if result.inserted + result.updated >= _STATISTICS_FROM_ROWS:
            self._grown.add(table_name)
