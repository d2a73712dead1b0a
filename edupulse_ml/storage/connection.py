"""Connections of one district: the tenant is part of every connection's start-up, so a statement cannot forget it."""

import re
import select
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
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
_TRANSPORT: Final = {
    "connect_timeout": 5,
    "application_name": "edupulse",
    # A server or network that vanished is noticed within half a minute, also while nothing is being sent.
    "tcp_user_timeout": 15_000,
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""What holds unless the URL says otherwise; libpq's names and units. A Unix socket ignores the keepalives."""


def district_conninfo(
    url: str, district_id: DistrictId, *, statement_timeout_s: float | None = None, plans_once: bool = False
) -> str:
    """`url` with the start-up options that select the district; `RESET ALL` comes back to them. The server ends a
    statement that takes longer than `statement_timeout_s` (None: never). `plans_once`: it plans a statement for any
    parameters, and keeps the plan.

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
    if statement_timeout_s is not None:
        options += f" -c statement_timeout={max(1, round(statement_timeout_s * 1000))}"
    if plans_once:
        options += " -c plan_cache_mode=force_generic_plan"
    return make_conninfo(
        url,
        options=f"{given.get('options') or ''} {options}".strip(),
        **{name: given.get(name) or value for name, value in _TRANSPORT.items()},
    )


class Database:
    """A pool of connections that see one district only.

    Opening does not wait for the server: `ping` says whether it answers, and the pool connects when it does. A
    statement of the pool that takes longer than `statement_timeout_s` (None: never) fails; `dedicated` connections do
    long work and know no such limit. `plans_once` suits a pool whose statements ask about few students: over tables
    split by month, planning such a statement costs more than running it (records of one student: 11 ms of the server's
    time, 4 with a kept plan).
    """

    def __init__(
        self,
        url: str,
        *,
        district_id: DistrictId,
        max_connections: int = 4,
        wait_s: float = 5.0,
        statement_timeout_s: float | None = None,
        plans_once: bool = False,
    ) -> None:
        self.district_id = district_id
        self._conninfo = district_conninfo(url, district_id)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            district_conninfo(url, district_id, statement_timeout_s=statement_timeout_s, plans_once=plans_once),
            kwargs={"autocommit": True},
            min_size=1,
            max_size=max_connections,
            timeout=wait_s,
            reconnect_timeout=10,
            open=False,
            configure=_configure,
            check=_check,
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
        """A connection outside the pool, for long work; closed at the end, its locks freed before."""
        with translated_errors():
            async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                await _configure(connection)
                try:
                    yield connection
                finally:
                    await _free_locks(connection)

    async def ping(self) -> None:
        """Return if PostgreSQL answers and holds EduPulse's tables.

        Raises:
            DependencyDownError: it does not.
        """
        async with self.connection() as connection:
            await connection.execute("SELECT FROM districts LIMIT 1")


async def _free_locks(connection: psycopg.AsyncConnection[Any]) -> None:
    """Free the session's advisory locks at once: a server notices a moment later that a connection was closed, and until
    then refuses whoever asks for them next. A lost connection has lost them already.
    """
    with suppress(psycopg.Error):
        await connection.execute("SELECT pg_advisory_unlock_all()")


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Return if the server has not ended the connection. A server that ends one says so, which makes the socket
    readable; nothing else does while no statement runs. So a round trip is made only then.

    Raises:
        psycopg.OperationalError: it has.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    register_array_loaders(connection.adapters)
