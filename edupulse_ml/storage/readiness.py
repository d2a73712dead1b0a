"""Whether the database is ready for a job: its migrations, and which of the district's tables hold nothing."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.errors import DEPENDENCY, ChangedMigrationError, NotMigratedError
from edupulse_ml.storage.migrate import load_migrations
from edupulse_ml.storage.sql import load_queries


class ReadinessReader:
    """Looks at one district's tables; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("readiness")

    async def migrations(self) -> int:
        """How many migrations are applied, which are all of this release.

        Raises:
            NotMigratedError: one is missing, or the database tells this role nothing of them.
            ChangedMigrationError: one was applied in another form.
        """
        async with self._database.connection() as connection:
            try:
                cursor = await connection.execute(self._queries["applied"])
            except psycopg.errors.InsufficientPrivilege:
                raise NotMigratedError(
                    "The database was migrated by an earlier release: run `edupulse migrate`.", dependency=DEPENDENCY
                ) from None
            known: dict[str, str] = dict(await cursor.fetchall())
        wanted = load_migrations()
        missing = [migration.name for migration in wanted if migration.name not in known]
        if missing:
            raise NotMigratedError(
                f"Migrations are missing ({', '.join(missing)}): run `edupulse migrate`.", dependency=DEPENDENCY
            )
        changed = [migration.name for migration in wanted if known[migration.name] != migration.checksum]
        if changed:
            raise ChangedMigrationError(
                f"Migrations were applied in another form ({', '.join(changed)}): install the release that applied them."
            )
        return len(wanted)

    async def empty(self, tables: Sequence[str]) -> Sequence[str]:
        """Those of `tables` in which the district has no row."""
        found: list[str] = []
        async with self._database.connection() as connection:
            for table in tables:
                statement = self._queries["holds_rows"].format(table=sql.Identifier(table))
                cursor = await connection.execute(statement)
                if await cursor.fetchone() == (False,):
                    found.append(table)
        return found
