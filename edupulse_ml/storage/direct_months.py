"""Months that an import fills before they become partitions of their table, so that rows need not pass `stage`."""

from contextlib import AsyncExitStack
from datetime import date
from typing import Final, LiteralString, cast

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.merging import MergePlan
from edupulse_ml.storage.sql import load_queries

_FIRST_YEAR: Final = 1970


class DirectMonths:
    """The months of one file. A month is direct if it had no partition when the file first named it, so that nobody has
    rows in it; and the district must have no row in another month that a row of the file could correct.

    Partitions of the other months are made on a connection of their own, so that no lock outlives it; after this
    import has attached months to the table (`keeps_lock`), which locks it until the commit, on the import's own.
    """

    def __init__(self, database: Database, connection: Connection, plan: MergePlan, *, keeps_lock: bool) -> None:
        self._database = database
        self._connection = connection
        self._plan = plan
        self._keeps_lock = keeps_lock
        self._queries = load_queries("loading")
        self._known: set[int] = set()
        self._names: dict[int, sql.SQL] = {}
        self._may_begin: bool | None = None
        self._is_table_empty = False

    @property
    def are_some_direct(self) -> bool:
        """Whether there are months to attach."""
        return bool(self._names)

    @property
    def are_new(self) -> bool:
        """Whether the district had no row that a row of the file, be it of another month, could correct."""
        return self._is_table_empty or len(self._names) == len(self._known)

    async def open(self, months: NDArray[np.int32]) -> None:
        """Make sure that the months [R] (counted since 1970) can take rows."""
        new = sorted(set(np.unique(months).tolist()) - self._known)
        self._known.update(new)
        others = [month for month in new if not await self._begin(month)]
        if not others:
            return
        async with AsyncExitStack() as stack:
            connection = self._connection
            if not self._keeps_lock:
                connection = await stack.enter_async_context(self._database.connection())
            parameters = {"table": self._plan.table.name, "months": [_first_day(month) for month in others]}
            await connection.execute(self._queries["ensure_months"], parameters)

    async def attach(self, *, repeated: bool) -> int:
        """Make the direct months partitions, with their indexes; other sessions see them when the import commits. Where
        rows are `repeated` in the stage, those that came first go there too; returns how many.
        """
        for month in self._names:
            await self._connection.execute(self._queries["index_month"], self._parameters(month))
        taken = await self._take_back() if repeated else 0
        for month in self._names:
            await self._connection.execute(self._queries["attach_month"], self._parameters(month))
        return taken

    async def _take_back(self) -> int:
        taken = 0
        await self._connection.execute(self._plan.compose("find_repeated"))
        await self._connection.execute(self._queries["prefer_lookups"])
        for month, name in self._names.items():
            statement = self._plan.compose("take_back", month=name)
            taken += (await self._connection.execute(statement, self._parameters(month))).rowcount
        await self._connection.execute(self._queries["prefer_nothing"])
        await self._connection.execute(self._queries["drop_repeated"])
        return taken

    def _parameters(self, month: int) -> dict[str, object]:
        return {"table": self._plan.table.name, "month": _first_day(month)}

    def are_direct(self, months: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Rows [R] whose month, opened before, is direct."""
        return np.isin(months, np.array(list(self._names), dtype=np.int32))

    def copy_statement(self, month: int) -> sql.Composed:
        """COPY into a direct month.

        Raises:
            KeyError: the month is not direct.
        """
        return self._plan.compose("copy_month", month=self._names[month])

    async def _begin(self, month: int) -> bool:
        if self._may_begin is None:
            self._may_begin = self._plan.is_loaded_by_month and await self._is_free_of_others()
        if not self._may_begin:
            return False
        cursor = await self._connection.execute(self._queries["begin_month"], self._parameters(month))
        ((name,),) = await cursor.fetchall()
        if name is not None:
            # The database quotes it.
            self._names[month] = sql.SQL(cast("LiteralString", name))
        return name is not None

    async def _is_free_of_others(self) -> bool:
        """Whether no row of another month can have the key of a row of a new one."""
        if self._plan.key_holds_date:
            return True
        cursor = await self._connection.execute(self._plan.compose("is_empty"))
        ((self._is_table_empty,),) = await cursor.fetchall()
        return self._is_table_empty


def _first_day(month: int) -> date:
    return date(_FIRST_YEAR + month // 12, month % 12 + 1, 1)
