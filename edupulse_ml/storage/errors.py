"""Errors of the store, and the one place that turns the driver's errors into ours."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg
import psycopg_pool

from edupulse_ml.core.errors import ConflictError, DependencyDownError, EduPulseError

DEPENDENCY: Final = "postgresql"


class NotMigratedError(DependencyDownError):
    """The database answers but lacks EduPulse's tables."""

    title = "Database not migrated"


class StatementFailedError(EduPulseError):
    """PostgreSQL refused a statement. The driver's text may quote a row, so only the SQLSTATE is kept."""

    title = "Statement refused by PostgreSQL"


class UnsafeRoleError(ConflictError):
    """The application role could see other districts' rows."""

    title = "Unsafe database role"


class ChangedMigrationError(ConflictError):
    """An applied migration is not the one that this release holds."""

    title = "Changed migration"


@contextmanager
def translated_errors() -> Generator[None, None, None]:
    """Raise this package's errors in place of psycopg's; `from None` because theirs may quote a student's row.

    Raises:
        DependencyDownError: PostgreSQL cannot be reached or stopped answering.
        NotMigratedError: a table or column is missing.
        StatementFailedError: anything else that PostgreSQL refused.
    """
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction):
        raise NotMigratedError(
            "The database lacks EduPulse's tables or has those of another release: run `edupulse migrate`.",
            dependency=DEPENDENCY,
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as e:
        raise DependencyDownError(
            f"PostgreSQL did not answer ({type(e).__name__}): check that the server runs and that the database URL is right.",
            dependency=DEPENDENCY,
        ) from None
    except psycopg.errors.ReadOnlySqlTransaction:
        raise DependencyDownError(
            "PostgreSQL accepts no writes (a standby?): point the database URL at the primary server.",
            dependency=DEPENDENCY,
        ) from None
    except psycopg.Error as e:
        raise StatementFailedError(
            f"PostgreSQL refused a statement (SQLSTATE {e.sqlstate}); its log holds the details."
        ) from None
