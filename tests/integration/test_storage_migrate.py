import asyncio
import multiprocessing

import psycopg
import pytest

from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.storage.errors import ChangedMigrationError, UnsafeRoleError
from edupulse_ml.storage.migrate import load_migrations, migrate

ALL = [migration.name for migration in load_migrations()]


def _migrate(url: str) -> list[str]:
    return asyncio.run(migrate(url, app_role="edupulse_app"))


def test_second_run_applies_nothing(postgres):
    url = postgres.create_empty()
    assert _migrate(url) == ALL
    assert _migrate(url) == []


def test_two_processes_at_once_apply_each_migration_once(postgres):
    url = postgres.create_empty()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(_migrate, [url, url])
    assert sorted(results, key=len) == [[], ALL]


def test_a_changed_migration_is_refused(postgres):
    url = postgres.create().admin_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'x'")
    with pytest.raises(ChangedMigrationError, match="0001_tables"):
        _migrate(url)


def test_a_superuser_is_no_application_role(postgres):
    with pytest.raises(UnsafeRoleError):
        asyncio.run(migrate(postgres.create_empty(), app_role="postgres"))


def test_password_is_stored_as_a_scram_hash(postgres):
    url = postgres.create_empty()
    asyncio.run(migrate(url, app_role="with_password", app_password="s3cret"))
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT rolpassword, rolcanlogin FROM pg_authid WHERE rolname = 'with_password'"
        ).fetchone()
    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")
    assert row[1]


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(DependencyDownError) as caught:
        _migrate("postgresql:///x?host=/nonexistent")
    assert caught.value.dependency == "postgresql"
