"""Fresh databases on the benchmark's own PostgreSQL."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from edupulse_ml.storage.migrate import migrate
from jobs.stack.embedded import ensure_embedded
from jobs.stack.postgres import APP_ROLE
from tests.benchmarks.setting import BenchSetting

_TEMPLATE = "bench_template"


@dataclass(frozen=True)
class FreshDatabase:
    """URLs of one database: of the application role, and of the role that owns the tables."""

    app_url: str
    admin_url: str


class Databases:
    """Copies of one migrated template."""

    def __init__(self, setting: BenchSetting) -> None:
        endpoints = ensure_embedded(setting.settings())
        self.redis_url = endpoints.redis_url
        self.tracking_uri = endpoints.mlflow_tracking_uri
        self._admin_url = endpoints.database_admin_url or ""
        self._numbers = itertools.count(1)
        self._execute("CREATE DATABASE {name}", _TEMPLATE)
        asyncio.run(migrate(make_conninfo(self._admin_url, dbname=_TEMPLATE), app_role=APP_ROLE))

    @contextmanager
    def fresh(self) -> Iterator[FreshDatabase]:
        """An empty migrated database, dropped at the end. Nothing is left for the next checkpoint to write."""
        name = f"bench_{next(self._numbers)}"
        self._execute("CREATE DATABASE {name} TEMPLATE {template}", name, template=_TEMPLATE)
        self._execute("CHECKPOINT", name)
        try:
            yield FreshDatabase(
                make_conninfo(self._admin_url, dbname=name, user=APP_ROLE), make_conninfo(self._admin_url, dbname=name)
            )
        finally:
            self._execute("DROP DATABASE {name} WITH (FORCE)", name)

    def _execute(self, statement: str, name: str, *, template: str = "") -> None:
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template or name)}
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(**names))  # pyright: ignore[reportArgumentType] - constants above
