-- Whether the database is ready for a job.

-- name: applied
SELECT name, checksum FROM schema_migrations ORDER BY name;

-- name: holds_rows
SELECT EXISTS (SELECT FROM {table});
