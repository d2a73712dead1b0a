"""Connections of one district: the tenant is part of every connection's start-up, so a statement cannot forget it."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import DistrictId
from edupulse_ml.storage.arrays import register_array_loaders
from edupulse_ml.storage.errors import translated_errors

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

_DISTRICT: Final = re.compile(r"^[a-z0-9-]{1,40}$")
_CONNECT_TIMEOUT_S: Final = 5


def district_conninfo(url: str, district_id: DistrictId) -> str:
    """`url` with the start-up options that select the district; `RESET ALL` comes back to them.

    Raises:
        InvalidInputError: the district's name has other characters than a-z, 0-9 and hyphens.
    """
    if not _DISTRICT.match(district_id):
        raise InvalidInputError(
            "A district is named by 1 to 40 of a-z, 0-9 and '-'; set EDUPULSE_DISTRICT accordingly."
        )
    with translated_errors():
        given = conninfo_to_dict(url)
    # JIT compilation costs more than it saves on statements over many small partitions.
    options = f"-c edupulse.district={district_id} -c client_min_messages=warning -c timezone=UTC -c jit=off"
    return make_conninfo(
        url,
        options=f"{given.get('options') or ''} {options}".strip(),
        connect_timeout=given.get("connect_timeout") or _CONNECT_TIMEOUT_S,
        application_name=given.get("application_name") or "edupulse",
    )


class Database:
    """A pool of connections that see one district only.

    Opening does not wait for the server: `ping` says whether it answers, and the pool connects when it does.
    """

    def __init__(self, url: str, *, district_id: DistrictId, max_connections: int = 4, wait_s: float = 5.0) -> None:
        self.district_id = district_id
        self._conninfo = district_conninfo(url, district_id)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=max_connections,
            timeout=wait_s,
            reconnect_timeout=10,
            open=False,
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
        )

    async def open(self) -> None:
        """Start connecting in the background."""
        await self._pool.open()

    async def close(self) -> None:
        """End every connection of the pool."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """A connection of the pool in autocommit mode, with the driver's errors translated.

        Raises:
            DependencyDownError: PostgreSQL does not answer.
        """
        with translated_errors():
            async with self._pool.connection() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncGenerator[Connection, None]:
        """A connection inside a transaction; `snapshot`: read only, and every statement sees the same moment."""
        async with self.connection() as connection, connection.transaction():
            if snapshot:
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @asynccontextmanager
    async def dedicated(self) -> AsyncGenerator[Connection, None]:
        """A connection outside the pool, for long work; closed at the end."""
        with translated_errors():
            async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                await _configure(connection)
                yield connection

    async def ping(self) -> None:
        """Return if PostgreSQL answers and holds EduPulse's tables.

        Raises:
            DependencyDownError: it does not.
        """
        async with self.connection() as connection:
            await connection.execute("SELECT FROM districts LIMIT 1")


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    register_array_loaders(connection.adapters)
