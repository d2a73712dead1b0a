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

-- name: role_attributes
SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %(role)s;

-- name: role_owns_tables
SELECT count(*) FROM pg_tables WHERE tableowner = %(role)s;

-- name: create_role
CREATE ROLE {app_role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;

-- name: set_password
ALTER ROLE {app_role} PASSWORD {password};
