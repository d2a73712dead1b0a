-- What the application role may do. Run after every migration; safe to repeat.

-- name: grant_all
-- Versions of records may be closed (superseded_at) but not rewritten; predictions and the audit log are append only.
GRANT USAGE ON SCHEMA public TO {app_role};
GRANT TEMPORARY ON DATABASE {database} TO {app_role};
GRANT EXECUTE ON FUNCTION ensure_partitions(text, date, date), refresh_statistics(text) TO {app_role};
GRANT SELECT, INSERT ON districts TO {app_role};
GRANT SELECT, INSERT, UPDATE ON schools, calendar, students, feature_states, training_jobs, scoring_runs, scoring_chunks TO {app_role};
GRANT SELECT, INSERT, UPDATE ON feature_windows TO {app_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON student_audit_attributes, student_features, feature_refresh_queue TO {app_role};
GRANT SELECT, INSERT, UPDATE (superseded_at)
    ON enrollments, attendance_records, grades, transcript, discipline_incidents TO {app_role};
GRANT SELECT, INSERT ON predictions, audit_log, training_feedback, imports TO {app_role};
GRANT SELECT, INSERT, UPDATE (moved_at) ON promotions TO {app_role};
GRANT SELECT, INSERT, UPDATE ON monthly_runs, monthly_steps TO {app_role};
GRANT SELECT ON schema_migrations TO {app_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON monitoring_runs, monitoring_figures TO {app_role};

-- name: close_chunks
-- Chunks of TimescaleDB have the grants of their table but not its policies: nobody reaches them but through the table.
DO $close_chunks$
BEGIN
    IF to_regnamespace('_timescaledb_internal') IS NOT NULL THEN
        REVOKE USAGE ON SCHEMA _timescaledb_internal FROM PUBLIC, {app_role};
    END IF;
END
$close_chunks$;
