-- Statements of `edupulse migrate`.

-- name: take_lock
-- One migration at a time per database; released at the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('edupulse.migrate'));

-- name: set_lock_timeout
-- A migration gives up rather than queue in front of readers and writers.
SET LOCAL lock_timeout = '10s';

-- name: create_journal
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
SELECT name, checksum FROM schema_migrations ORDER BY name;

-- name: record
INSERT INTO schema_migrations (name, checksum) VALUES (%(name)s, %(checksum)s);

-- name: role_dangers
-- No row where the role does not exist. A running import's temporary tables do not count as owned. A member may become the other role (SET ROLE) and then do what it may.
SELECT
    app.rolsuper OR app.rolbypassrls AS is_unbound,
    app.rolname = current_user AS is_migrating_role,
    EXISTS (SELECT FROM pg_class WHERE relowner = app.oid AND relpersistence <> 't') AS owns_tables,
    EXISTS (
        SELECT FROM pg_roles AS other
        WHERE other.oid <> app.oid
            AND pg_has_role(app.oid, other.oid, 'MEMBER')
            AND (
                other.rolsuper OR other.rolbypassrls OR other.rolname = current_user
                OR other.oid = (SELECT relowner FROM pg_class WHERE oid = to_regclass('public.districts'))
            )
    ) AS may_become_another
FROM pg_roles AS app
WHERE app.rolname = %(role)s;

-- name: may_use_chunks
-- Chunks of TimescaleDB have the grants of their table but not its policies.
SELECT coalesce(
    has_schema_privilege(%(role)s::name, to_regnamespace('_timescaledb_internal')::oid, 'USAGE'), false
);

-- name: create_role
CREATE ROLE {app_role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;

-- name: set_password
ALTER ROLE {app_role} PASSWORD {password};
