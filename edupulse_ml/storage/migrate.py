"""Brings a database to this release's tables and grants the application role what it needs."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from edupulse_ml.storage.errors import ChangedMigrationError, UnsafeRoleError, translated_errors
from edupulse_ml.storage.sql import load_queries

_ATTEMPTS = 5


@dataclass(frozen=True)
class Migration:
    """One numbered file of `migrations/`."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_migrations() -> list[Migration]:
    """All migrations, in the order in which they are applied."""
    folder = files("edupulse_ml.storage").joinpath("migrations")
    found = [item for item in folder.iterdir() if item.name.endswith(".sql")]
    return [
        Migration(item.name.removesuffix(".sql"), item.read_text(encoding="utf-8"))
        for item in sorted(found, key=lambda item: item.name)
    ]


async def migrate(admin_url: str, *, app_role: str, app_password: str | None = None) -> list[str]:
    """Apply what is missing, in one transaction, and return the names of the migrations applied (empty: none).

    Creates `app_role`, a login that owns nothing and cannot bypass row-level security; without a password it can
    only log in where the server trusts the connection. Two processes may run this at once: the second waits.

    Raises:
        ChangedMigrationError: an applied migration differs from this release's file.
        UnsafeRoleError: `app_role` exists and is the role that migrates, a superuser, may bypass row-level security,
            owns tables or may become a role that does; or it may read TimescaleDB's chunks past their tables' policies.
        DependencyDownError: PostgreSQL does not answer, or a table stayed locked for ten seconds.
    """
    queries = load_queries("migrate")
    with translated_errors():
        async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
            await connection.execute("SET client_min_messages = warning")
            await _ensure_role(connection, app_role=app_role, app_password=app_password)
            async with connection.transaction():
                await connection.execute(queries["take_lock"])
                await connection.execute(queries["set_lock_timeout"])
                await connection.execute(queries["create_journal"])
                applied = await _apply_missing(connection)
                await _grant(connection, app_role)
    return applied


async def _apply_missing(connection: psycopg.AsyncConnection[TupleRow]) -> list[str]:
    queries = load_queries("migrate")
    cursor = await connection.execute(queries["applied"])
    known: dict[str, str] = dict(await cursor.fetchall())
    applied: list[str] = []
    for migration in load_migrations():
        if migration.name in known:
            if known[migration.name] != migration.checksum:
                raise ChangedMigrationError(
                    f"Migration {migration.name} was applied in another form: install the release that applied it, or"
                    " restore the file; a change belongs in a new migration."
                )
            continue
        await connection.execute(migration.text.encode())
        await connection.execute(queries["record"], {"name": migration.name, "checksum": migration.checksum})
        applied.append(migration.name)
    return applied


async def _grant(connection: psycopg.AsyncConnection[TupleRow], app_role: str) -> None:
    grants = load_queries("grants")
    names = {"app_role": sql.Identifier(app_role), "database": sql.Identifier(connection.info.dbname)}
    await connection.execute(grants["grant_all"].format(**names))
    await connection.execute(grants["close_chunks"].format(**names))
    cursor = await connection.execute(load_queries("migrate")["may_use_chunks"], {"role": app_role})
    if (await cursor.fetchone()) != (False,):
        raise UnsafeRoleError(
            f"Role {app_role} may use the schema _timescaledb_internal, whose chunks know no districts: let its owner"
            f" run REVOKE USAGE ON SCHEMA _timescaledb_internal FROM PUBLIC, {app_role}, then migrate again."
        )


async def _ensure_role(
    connection: psycopg.AsyncConnection[TupleRow], *, app_role: str, app_password: str | None
) -> None:
    """Roles belong to the whole server, which the migration's lock (one per database) does not cover: try again."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await _create_role(connection, app_role=app_role, app_password=app_password)
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation, psycopg.errors.InternalError_):
            if attempt == _ATTEMPTS:
                raise
        else:
            return


async def _create_role(
    connection: psycopg.AsyncConnection[TupleRow], *, app_role: str, app_password: str | None
) -> None:
    queries = load_queries("migrate")
    role = sql.Identifier(app_role)
    cursor = await connection.execute(queries["role_dangers"], {"role": app_role})
    row = await cursor.fetchone()
    if row is None:
        await connection.execute(queries["create_role"].format(app_role=role))
    else:
        _require_bound(app_role, dangers=row)
    if app_password is not None:
        # The server sees, and logs, only the salted hash.
        hashed = connection.pgconn.encrypt_password(app_password.encode(), app_role.encode(), b"scram-sha-256")
        await connection.execute(queries["set_password"].format(app_role=role, password=sql.Literal(hashed.decode())))


def _require_bound(app_role: str, *, dangers: TupleRow) -> None:
    reasons = (
        "is a superuser or may bypass row-level security",
        "is the role that migrates, which owns the tables",
        "owns tables",
        "is a member of a role that owns the tables, is a superuser or may bypass row-level security",
    )
    for is_so, reason in zip(dangers, reasons, strict=True):
        if is_so:
            raise UnsafeRoleError(
                f"Role {app_role} {reason}, so it could see other districts' rows: name another application role in"
                " EDUPULSE_DATABASE_URL, or take that right away."
            )
