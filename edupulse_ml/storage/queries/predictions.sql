-- Predictions and the audit trail; both append only.

-- name: save_answers
-- All predictions and one audit row per answer, or nothing: false where the district lacks a student. A prediction that
-- is stored already (an answer out of the cache) is left as it is.
WITH given AS MATERIALIZED (
    SELECT given.*, student.student_key
    FROM json_to_recordset(%(rows)s::json) AS given (
        student_id text, outcome text, request_id text,
        prediction_id uuid, as_of timestamptz, created_at timestamptz, feature_week date,
        model_version text, policy_version text, risk_score float8, risk_60plus float8, category text,
        coverage jsonb, reasons jsonb, protective_factors jsonb, attention_weeks jsonb,
        role prediction_role, challenge_id uuid
    )
    JOIN students AS student USING (student_id)
), verdict AS (
    SELECT count(*) = %(n_answers)s AS is_complete FROM given
), saved AS (
    INSERT INTO predictions (
        prediction_id, student_key, as_of, created_at, feature_week, model_version, policy_version,
        risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks,
        role, challenge_id
    )
    SELECT
        prediction_id, student_key, as_of, created_at, feature_week, model_version, policy_version,
        risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks,
        role, challenge_id
    FROM given
    WHERE outcome = 'scored' AND (SELECT is_complete FROM verdict)
    ON CONFLICT (prediction_id, created_at) DO NOTHING
), audited AS (
    INSERT INTO audit_log (actor, action, outcome, request_id, student_key, prediction_id)
    SELECT %(actor)s, %(action)s, outcome, request_id, student_key, prediction_id
    FROM given
    WHERE (SELECT is_complete FROM verdict)
)
SELECT is_complete FROM verdict;

-- name: audit_event
INSERT INTO audit_log (actor, action, outcome, request_id, student_key)
VALUES (
    %(actor)s, %(action)s, %(outcome)s, %(request_id)s,
    (SELECT student_key FROM students WHERE student_id = %(student_id)s::text)
);

-- name: ensure_months
SELECT ensure_partitions('predictions', month, month) FROM unnest(%(months)s::date[]) AS month;

-- name: ensure_audit_months
-- This month and the next; the server's clock dates the audit trail.
SELECT ensure_partitions('audit_log', (now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 31);

-- name: find_student
SELECT student_key FROM students WHERE student_id = %(student_id)s;

-- name: history
SELECT
    prediction_id::text, as_of, created_at, feature_week, model_version, policy_version,
    risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks,
    role::text, challenge_id::text
FROM predictions
WHERE student_key = %(student_key)s
ORDER BY created_at DESC, prediction_id
LIMIT %(limit)s;

-- name: find_predictions
-- Those that were answered, and those that the challenger made in the shadow, which read the window of the answer.
SELECT
    student.student_key, student.student_id,
    prediction_id::text, as_of, created_at, feature_week, model_version, policy_version,
    risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks,
    role::text, challenge_id::text
FROM predictions JOIN students AS student USING (student_key)
WHERE prediction_id = ANY(%(prediction_ids)s::uuid[])
UNION ALL
SELECT
    student.student_key, student.student_id,
    shadow.prediction_id::text, shadow.as_of, shadow.created_at, shadow.feature_week, shadow.model_version,
    shadow.policy_version, shadow.risk_score, shadow.risk_60plus, shadow.category, answer.coverage, NULL, NULL, '[]'::jsonb,
    'challenger', shadow.challenge_id::text
FROM shadow_predictions AS shadow
JOIN predictions AS answer ON answer.prediction_id = shadow.beside_prediction_id
JOIN students AS student ON student.student_key = shadow.student_key
WHERE shadow.prediction_id = ANY(%(prediction_ids)s::uuid[]);

-- name: sample_predictions
-- The same ones for the same seed, as long as none is added.
SELECT prediction_id::text FROM predictions
ORDER BY hashtextextended(prediction_id::text, %(seed)s), prediction_id
LIMIT %(limit)s;
