-- What people say about students: versions of statements, never rewritten; and what training and the report read of them.

-- name: lock
-- One writer of a district at a time, until the transaction ends: a statement is judged by what is stored.
SELECT pg_advisory_xact_lock(hashtextextended('edupulse.feedback.' || current_setting('edupulse.district'), 0));

-- name: limit_wait
-- A statement of this transaction that waits longer for a lock fails.
SELECT set_config('lock_timeout', %(wait)s, true);

-- name: find
-- What the store knows about each given statement, in the order given.
SELECT
    given.position, student.student_key, prediction.student_key,
    stored.student_key, stored.kind, stored.value, stored.prediction_id::text, stored.starts_on, stored.ends_on,
    stored.given_by, stored.retracted, stored.recorded_at
FROM json_to_recordset(%(rows)s::json) AS given (
    position integer, feedback_key text, student_id text, prediction_id uuid
)
LEFT JOIN students AS student USING (student_id)
LEFT JOIN LATERAL (
    SELECT found.student_key FROM predictions AS found WHERE found.prediction_id = given.prediction_id LIMIT 1
) AS prediction ON true
LEFT JOIN feedback AS stored ON stored.feedback_key = given.feedback_key AND stored.superseded_at IS NULL
ORDER BY given.position;

-- name: supersede
UPDATE feedback AS stored SET superseded_at = given.recorded_at
FROM json_to_recordset(%(rows)s::json) AS given (feedback_key text, recorded_at timestamptz)
WHERE stored.feedback_key = given.feedback_key AND stored.superseded_at IS NULL;

-- name: insert
INSERT INTO feedback (
    feedback_key, student_key, kind, value, prediction_id, starts_on, ends_on, given_by, retracted, recorded_at
)
SELECT feedback_key, student_key, kind, value, prediction_id, starts_on, ends_on, given_by, retracted, recorded_at
FROM json_to_recordset(%(rows)s::json) AS given (
    feedback_key text, student_key bigint, kind text, value text, prediction_id uuid, starts_on date, ends_on date,
    given_by text, retracted boolean, recorded_at timestamptz
);

-- name: audit
INSERT INTO audit_log (actor, action, outcome, request_id, student_key, prediction_id)
SELECT %(actor)s, 'feedback', kind || ' ' || status, %(request_id)s, student_key, prediction_id
FROM json_to_recordset(%(rows)s::json) AS given (kind text, status text, student_key bigint, prediction_id uuid);

-- name: ensure_audit_months
-- This month and the next; the server's clock dates the audit trail.
SELECT ensure_partitions('audit_log', (now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 31);

-- name: outcomes
SELECT
    array_agg(student_key) AS student,
    array_agg((array_position(%(words)s::text[], value) - 1)::smallint) AS outcome,
    array_agg(starts_on - date '1970-01-01') AS day,
    array_agg(label_known_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM training_feedback
WHERE kind = 'outcome' AND student_key = ANY(%(keys)s::bigint[]) AND label_known_at <= %(as_of)s;

-- name: interventions
SELECT
    array_agg(student_key) AS student,
    array_agg(starts_on - date '1970-01-01') AS start_day,
    array_agg(coalesce(ends_on - date '1970-01-01', 2147483647)) AS end_day,
    array_agg(label_known_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM training_feedback
WHERE kind = 'intervention' AND student_key = ANY(%(keys)s::bigint[]) AND label_known_at <= %(as_of)s;

-- name: opinions
-- Opinions on flags as known at a moment, with what was flagged and why.
SELECT
    stored.student_key, stored.value, prediction.category, prediction.model_version,
    prediction.feature_week - date '1970-01-01',
    coalesce(
        (SELECT array_agg(reason ->> 'concept') FROM jsonb_array_elements(prediction.reasons) AS reason), '{}'
    )
FROM feedback AS stored
JOIN LATERAL (
    SELECT found.* FROM predictions AS found WHERE found.prediction_id = stored.prediction_id LIMIT 1
) AS prediction ON true
WHERE stored.kind = 'flag' AND NOT stored.retracted
    AND stored.recorded_at >= %(since)s AND stored.recorded_at <= %(as_of)s
    AND (stored.superseded_at IS NULL OR stored.superseded_at > %(as_of)s)
ORDER BY stored.student_key, stored.recorded_at;
