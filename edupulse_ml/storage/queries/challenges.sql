-- Challenges, what they were set to, and what the challenger said of students.

-- name: settings
-- Newest first.
SELECT challenge_id::text, model_version, shadow, split, is_over, set_at, set_by
FROM challenge_settings ORDER BY setting_id DESC LIMIT %(limit)s;

-- name: settings_of
-- Oldest first.
SELECT challenge_id::text, model_version, shadow, split, is_over, set_at, set_by
FROM challenge_settings WHERE challenge_id = %(challenge_id)s::uuid ORDER BY setting_id;

-- name: lock
-- One setting of a district at a time; the lock ends with its connection.
SELECT pg_try_advisory_lock(hashtextextended('edupulse.challenge.' || current_setting('edupulse.district'), 0));

-- name: set
-- The setting and its line in the audit trail.
WITH kept AS (
    INSERT INTO challenge_settings (challenge_id, model_version, shadow, split, is_over, set_at, set_by)
    VALUES (
        %(challenge_id)s, %(model_version)s, %(shadow)s, %(split)s, %(is_over)s, %(set_at)s, %(set_by)s
    )
)
INSERT INTO audit_log (actor, action, outcome, request_id)
VALUES (%(set_by)s, 'challenge', %(outcome)s, %(challenge_id)s::text);

-- name: ensure_audit_months
-- This month and the next; the server's clock dates the audit trail.
SELECT ensure_partitions('audit_log', (now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 31);

-- name: save_shadows
-- A student whom the district no longer has is left out: nobody waits for these rows.
INSERT INTO shadow_predictions (
    prediction_id, beside_prediction_id, challenge_id, student_key, as_of, created_at, feature_week, model_version,
    policy_version, risk_score, risk_60plus, category, answered_version, answered_risk_score, answered_risk_60plus,
    answered_category
)
SELECT
    given.prediction_id, given.beside_prediction_id, %(challenge_id)s::uuid, student.student_key, given.as_of,
    given.created_at, given.feature_week, given.model_version, given.policy_version, given.risk_score,
    given.risk_60plus, given.category, given.answered_version, given.answered_risk_score,
    given.answered_risk_60plus, given.answered_category
FROM json_to_recordset(%(rows)s::json) AS given (
    student_id text, prediction_id uuid, beside_prediction_id uuid, as_of timestamptz, created_at timestamptz,
    feature_week date, model_version text, policy_version text, risk_score float8, risk_60plus float8, category text,
    answered_version text, answered_risk_score float8, answered_risk_60plus float8, answered_category text
)
JOIN students AS student USING (student_id)
ON CONFLICT (beside_prediction_id, created_at) DO NOTHING;

-- name: ensure_shadow_months
SELECT ensure_partitions('shadow_predictions', month, month) FROM unnest(%(months)s::date[]) AS month;

-- name: champions_of
-- Versions that answered as champion in the challenge, each with its first answer that counts, in the order of these.
SELECT model_version, min(created_at) AS first_at
FROM (
    SELECT answered_version AS model_version, created_at
    FROM shadow_predictions
    WHERE challenge_id = %(challenge_id)s::uuid AND created_at >= %(since)s AND as_of > created_at - interval '1 day'
    UNION ALL
    SELECT model_version, created_at
    FROM predictions
    WHERE challenge_id = %(challenge_id)s::uuid AND created_at >= %(since)s AND as_of > created_at - interval '1 day'
        AND role = 'champion'
) AS answer
GROUP BY model_version
ORDER BY first_at, model_version;

-- name: shadows_of
-- The first pair of every student in the challenge. Pairs about the past do not count: their outcome may have been known.
SELECT DISTINCT ON (student_key)
    student_key, (feature_week - DATE '1970-01-01'), answered_risk_score, risk_score, answered_risk_60plus, risk_60plus,
    answered_category = category
FROM shadow_predictions
WHERE challenge_id = %(challenge_id)s::uuid AND created_at < coalesce(%(until)s, 'infinity'::timestamptz)
    AND as_of > created_at - interval '1 day'
ORDER BY student_key, created_at, prediction_id;

-- name: answers_of
-- The first answer of every student in the challenge, and how many answers there were and were the challenger's. Answers
-- about the past do not count: their outcome may have been known.
SELECT DISTINCT ON (prediction.student_key)
    prediction.student_key, student.student_id, (prediction.feature_week - DATE '1970-01-01'), prediction.created_at, prediction.risk_score,
    prediction.risk_60plus, count(*) OVER student_answers, count(*) FILTER (WHERE role = 'challenger') OVER student_answers
FROM predictions AS prediction JOIN students AS student USING (student_key)
WHERE prediction.challenge_id = %(challenge_id)s::uuid AND prediction.created_at >= %(since)s
    AND prediction.created_at < coalesce(%(until)s, 'infinity'::timestamptz)
    AND prediction.as_of > prediction.created_at - interval '1 day'
WINDOW student_answers AS (PARTITION BY prediction.student_key)
ORDER BY prediction.student_key, prediction.created_at, prediction.prediction_id;
