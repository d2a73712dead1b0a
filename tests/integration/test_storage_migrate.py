import asyncio
import multiprocessing

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

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


@pytest.fixture
def owner_url(postgres) -> str:
    """An empty database that belongs to an ordinary role."""
    url = postgres.create_empty()
    database = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True) as connection:
        role = f"owner_of_{database}"
        connection.execute(f"CREATE ROLE {role} LOGIN CREATEROLE")
        connection.execute(f"ALTER DATABASE {database} OWNER TO {role}")
        connection.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    return make_conninfo(url, user=role)


def test_the_migrating_role_is_no_application_role(owner_url):
    with pytest.raises(UnsafeRoleError, match="is the role that migrates"):
        asyncio.run(migrate(owner_url, app_role=conninfo_to_dict(owner_url)["user"]))


@pytest.mark.parametrize("granted", ["owner", "postgres", "bypassing"])
def test_a_role_that_may_become_an_unbound_one_is_no_application_role(postgres, owner_url, granted):
    owner = conninfo_to_dict(owner_url)["user"]
    admin_url = postgres.admin_url(conninfo_to_dict(owner_url)["dbname"])
    app, between = f"app_{granted}", f"between_{granted}"
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {app} LOGIN NOINHERIT; CREATE ROLE {between}; GRANT {between} TO {app}")
        asyncio.run(migrate(owner_url, app_role=app))
        if granted == "bypassing":
            connection.execute("CREATE ROLE bypassing BYPASSRLS")
        connection.execute(f"GRANT {owner if granted == 'owner' else granted} TO {between}")
    for url in (owner_url, admin_url):
        with pytest.raises(UnsafeRoleError, match="is a member of a role"):
            asyncio.run(migrate(url, app_role=app))


def test_a_role_that_owns_tables_is_no_application_role(postgres):
    url = postgres.create_empty()
    asyncio.run(migrate(url, app_role="app_with_table"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE own (); ALTER TABLE own OWNER TO app_with_table")
    with pytest.raises(UnsafeRoleError, match="owns tables"):
        asyncio.run(migrate(url, app_role="app_with_table"))


def test_a_running_import_does_not_stop_a_migration(database_urls):
    with psycopg.connect(database_urls.app_url, autocommit=True) as importing:
        importing.execute("CREATE TEMP TABLE stage (name text)")
        assert _migrate(database_urls.admin_url) == []


class TestChunks:
    """The schema of TimescaleDB's chunks, which it opens to everybody."""

    def prepare(self, postgres, *, owner: str) -> str:
        url = postgres.create_empty()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA _timescaledb_internal AUTHORIZATION {owner}")
            connection.execute("GRANT USAGE ON SCHEMA _timescaledb_internal TO PUBLIC")
        return url

    def test_are_closed_to_the_application_role(self, postgres):
        url = self.prepare(postgres, owner="postgres")
        assert _migrate(url) == ALL
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT has_schema_privilege('edupulse_app', '_timescaledb_internal', 'USAGE')"
            ).fetchone()
        assert row == (False,)

    def test_that_cannot_be_closed_stop_the_migration(self, postgres, owner_url):
        with psycopg.connect(postgres.admin_url(conninfo_to_dict(owner_url)["dbname"]), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA _timescaledb_internal")
            connection.execute("GRANT USAGE ON SCHEMA _timescaledb_internal TO PUBLIC")
        with pytest.raises(UnsafeRoleError, match="know no districts"):
            _migrate(owner_url)


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
