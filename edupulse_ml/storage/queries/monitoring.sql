-- What the monitoring reads beside features, and what it keeps.

-- name: lock
-- One run of a district at a time; the lock ends with its connection.
SELECT pg_advisory_lock(hashtextextended('edupulse.monitoring.' || current_setting('edupulse.district'), 0));

-- name: latest_weeks
-- The latest weeks with stored features, and their student-weeks; weeks with much fewer than the fullest are left out
-- (a school that begins earlier, summer courses).
WITH stored AS (
    SELECT week, count(*) AS student_weeks
    FROM student_features
    WHERE contract_fingerprint = %(contract_fingerprint)s
        AND week <= %(through_week)s::date AND week > %(through_week)s::date - 420
    GROUP BY week
)
SELECT week FROM stored
WHERE student_weeks * 2 >= (SELECT max(student_weeks) FROM stored)
ORDER BY week DESC LIMIT %(weeks)s;

-- name: served_scores
-- One row of arrays: of each student and week the latest prediction of these versions that was there to be acted on: made
-- by the moment of the look, and within a week of the moment it speaks from. What is computed afterwards was never served.
WITH latest AS (
    SELECT DISTINCT ON (student_key, feature_week) student_key, feature_week, risk_score, risk_60plus
    FROM predictions
    WHERE feature_week BETWEEN %(from_week)s AND %(to_week)s AND as_of <= %(as_of)s
        AND created_at <= %(as_of)s AND created_at < as_of + interval '7 days'
        AND model_version = ANY(%(model_versions)s)
    ORDER BY student_key, feature_week, created_at DESC, prediction_id
)
SELECT
    coalesce(array_agg(student_key), '{}') AS student,
    coalesce(array_agg(feature_week - date '1970-01-01'), '{}') AS week,
    coalesce(array_agg(risk_score), '{}') AS risk_score,
    coalesce(array_agg(risk_60plus), '{}') AS risk_60plus
FROM latest;

-- name: champions
-- Every version that has been served, by the record of promotions.
SELECT DISTINCT to_version FROM promotions WHERE moved_at IS NOT NULL;

-- name: forget_run
DELETE FROM monitoring_runs WHERE model_version = %(model_version)s AND day = %(day)s;

-- name: keep_run
INSERT INTO monitoring_runs (model_version, day, as_of, policy_version, first_week, last_week)
VALUES (%(model_version)s, %(day)s, %(as_of)s, %(policy_version)s, %(first_week)s, %(last_week)s);

-- name: keep_figures
INSERT INTO monitoring_figures (
    model_version, day, position, kind, subject, value, "limit", low, high, reference, chance, n, is_alert, note
)
SELECT
    %(model_version)s, %(day)s, position, kind, subject, value, "limit", low, high, reference, chance, n, is_alert, note
FROM json_to_recordset(%(figures)s::json) AS given (
    position smallint, kind text, subject text, value float8, "limit" float8, low float8, high float8,
    reference float8, chance float8, n integer, is_alert boolean, note text
);

-- name: run_of
SELECT model_version, day, as_of, policy_version, first_week, last_week FROM monitoring_runs
WHERE model_version = %(model_version)s AND day = %(day)s;

-- name: latest_run
SELECT model_version, day, as_of, policy_version, first_week, last_week FROM monitoring_runs
ORDER BY as_of DESC, model_version LIMIT 1;

-- name: figures_of
SELECT kind, subject, value, "limit", low, high, reference, chance, n, is_alert, note FROM monitoring_figures
WHERE model_version = %(model_version)s AND day = %(day)s ORDER BY position;
