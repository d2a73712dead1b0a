"""`edupulse migrate`: bring the database's tables up to date."""

import asyncio
from urllib.parse import unquote, urlsplit

from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.errors import InvalidInputError
from jobs.stack.embedded import migrate_embedded
from jobs.stack.paths import StackPaths
from jobs.stack.postgres import ensure_postgres


def migrate() -> None:
    """Apply the migrations that the database lacks; safe to run twice and from two processes at once.

    Uses EDUPULSE_DATABASE_ADMIN_URL and gives the role in EDUPULSE_DATABASE_URL what it needs, or migrates the
    embedded database where neither is set.
    """
    applied = apply_migrations(load_settings())
    Console().print(f"Applied {', '.join(applied)}." if applied else "The tables are up to date.")


def apply_migrations(settings: Settings) -> list[str]:
    """Names of the migrations applied, in order; empty if none was missing.

    Raises:
        InvalidInputError: only one of the two database URLs is set, or the application's names no role.
    """
    if settings.database_url is None and settings.database_admin_url is None:
        return migrate_embedded(ensure_postgres(StackPaths.of(settings.home)).admin)
    if settings.database_url is None or settings.database_admin_url is None:
        missing = "EDUPULSE_DATABASE_URL" if settings.database_url is None else "EDUPULSE_DATABASE_ADMIN_URL"
        msg = f"{missing} is not set: to migrate a server of your own, set the URLs of both roles."
        raise InvalidInputError(msg)
    from edupulse_ml.storage.migrate import migrate as apply_missing

    role, password = role_of(settings.database_url)
    return asyncio.run(apply_missing(settings.database_admin_url, app_role=role, app_password=password))


def role_of(database_url: str) -> tuple[str, str | None]:
    """The role in a connection URL, and its password if there is one.

    Raises:
        InvalidInputError: the URL names no role.
    """
    parts = urlsplit(database_url)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.username:
        msg = "EDUPULSE_DATABASE_URL must name the application role: postgresql://ROLE:PASSWORD@HOST/DATABASE."
        raise InvalidInputError(msg)
    return unquote(parts.username), unquote(parts.password) if parts.password else None


if __name__ == "__main__":
    from jobs.cli import main

    main(["migrate"])
