-- Predictions and the audit trail; both append only.

-- name: save_predictions
-- A prediction that is stored already (an answer out of the cache) is left as it is.
INSERT INTO predictions (
    prediction_id, student_key, as_of, created_at, feature_week, model_version, policy_version,
    risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks
)
SELECT
    given.prediction_id, student.student_key, given.as_of, given.created_at, given.feature_week,
    given.model_version, given.policy_version, given.risk_score, given.risk_60plus, given.category,
    given.coverage::jsonb, given.reasons::jsonb, given.protective_factors::jsonb, given.attention_weeks::jsonb
FROM unnest(
    %(prediction_id)s::text[]::uuid[], %(student_id)s::text[], %(as_of)s::timestamptz[], %(created_at)s::timestamptz[],
    %(feature_week)s::date[], %(model_version)s::text[], %(policy_version)s::text[],
    %(risk_score)s::float8[], %(risk_60plus)s::float8[], %(category)s::text[],
    %(coverage)s::text[], %(reasons)s::text[], %(protective_factors)s::text[], %(attention_weeks)s::text[]
) AS given (
    prediction_id, student_id, as_of, created_at, feature_week, model_version, policy_version,
    risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks
)
JOIN students AS student USING (student_id)
ON CONFLICT (prediction_id, created_at) DO NOTHING;

-- name: audit_answers
INSERT INTO audit_log (actor, action, outcome, request_id, student_key, prediction_id)
SELECT %(actor)s, %(action)s, given.outcome, given.request_id, student.student_key, given.prediction_id
FROM unnest(
    %(outcomes)s::text[], %(request_ids)s::text[], %(student_ids)s::text[], %(prediction_ids)s::text[]::uuid[]
) AS given (outcome, request_id, student_id, prediction_id)
JOIN students AS student USING (student_id);

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
    risk_score, risk_60plus, category, coverage, reasons, protective_factors, attention_weeks
FROM predictions
WHERE student_key = %(student_key)s
ORDER BY created_at DESC, prediction_id
LIMIT %(limit)s;
