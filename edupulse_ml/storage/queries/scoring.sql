-- Scorings of a whole district, chunk by chunk.

-- name: take_lock
-- Held by the session; one per district.
SELECT pg_advisory_lock(hashtext('edupulse.score'), hashtext(current_setting('edupulse.district')));

-- name: keep_idle_session
SET idle_session_timeout = 0;

-- name: release_lock
SELECT pg_advisory_unlock(hashtext('edupulse.score'), hashtext(current_setting('edupulse.district')));

-- name: plan
-- Ranges of keys that hold so many students each.
SELECT '', min(student_key), max(student_key), count(*)::integer
FROM (
    SELECT student_key, (row_number() OVER (ORDER BY student_key) - 1) / %(students)s::integer AS chunk FROM students
) AS numbered
GROUP BY chunk ORDER BY chunk;

-- name: keys_between
SELECT coalesce(array_agg(student_key ORDER BY student_key), '{}')
FROM students WHERE student_key BETWEEN %(first)s AND %(last)s;

-- name: last_import
SELECT coalesce(max(import_id), 0) FROM imports;

-- name: find_run
-- The latest run of the same kind: of the same day where that was asked for, else of today's or, unfinished, of the week.
SELECT run_id, model_version, as_of, started_at, finished_at
FROM scoring_runs
WHERE model_version = %(model_version)s
    AND contract_fingerprint = %(contract_fingerprint)s
    AND source = %(source)s
    AND feature_week = %(feature_week)s
    AND last_import = (SELECT coalesce(max(import_id), 0) FROM imports)
    AND follows_clock = %(follows_clock)s
    AND (as_of_day = %(as_of_day)s OR follows_clock AND finished_at IS NULL)
ORDER BY started_at DESC LIMIT 1;

-- name: version_scored
-- Of the district's own windows as of the moment: scores of a folder's windows or as of an earlier day replace nothing.
SELECT model_version FROM scoring_runs
WHERE source = '' AND follows_clock AND finished_at < %(before)s
ORDER BY finished_at DESC LIMIT 1;

-- name: begin_run
INSERT INTO scoring_runs (
    run_id, model_version, contract_fingerprint, source, feature_week, as_of, as_of_day, follows_clock, last_import,
    started_at
)
SELECT
    gen_random_uuid(), %(model_version)s, %(contract_fingerprint)s, %(source)s, %(feature_week)s, %(as_of)s,
    %(as_of_day)s, %(follows_clock)s, (SELECT coalesce(max(import_id), 0) FROM imports), %(started_at)s
RETURNING run_id, model_version, as_of, started_at, finished_at;

-- name: begin_chunks
INSERT INTO scoring_chunks (run_id, file, first, last, students)
SELECT %(run_id)s, chunk.*
FROM unnest(%(file)s::text[], %(first)s::bigint[], %(last)s::bigint[], %(students)s::integer[]) AS chunk;

-- name: missing_chunks
SELECT file, first, last, students FROM scoring_chunks
WHERE run_id = %(run_id)s AND finished_at IS NULL ORDER BY file, first;

-- name: totals
SELECT coalesce(sum(scored), 0)::bigint, coalesce(sum(insufficient), 0)::bigint, coalesce(sum(students), 0)::bigint
FROM scoring_chunks WHERE run_id = %(run_id)s AND finished_at IS NOT NULL;

-- name: finish_chunk
-- Changes no row where another worker has stored the chunk already; waits for one that is about to.
UPDATE scoring_chunks SET finished_at = %(finished_at)s, scored = %(scored)s, insufficient = %(insufficient)s
WHERE run_id = %(run_id)s AND file = %(file)s AND first = %(first)s AND finished_at IS NULL;

-- name: finish_run
UPDATE scoring_runs SET finished_at = %(finished_at)s
WHERE run_id = %(run_id)s
    AND NOT EXISTS (SELECT FROM scoring_chunks WHERE run_id = %(run_id)s AND finished_at IS NULL);

-- name: create_stage
CREATE TEMP TABLE scored_stage (
    student_key bigint NOT NULL,
    category smallint NOT NULL,
    feature_week date NOT NULL,
    risk_score float8 NOT NULL,
    risk_60plus float8 NOT NULL,
    attendance float8 NOT NULL,
    course float8 NOT NULL,
    discipline float8 NOT NULL,
    weeks smallint NOT NULL
) ON COMMIT DROP;

-- name: copy_stage
COPY scored_stage FROM STDIN (FORMAT binary);

-- name: save_stage
-- Every answer is audited; those with enough data (category 0 and up) are stored as predictions.
WITH answer AS MATERIALIZED (
    SELECT gen_random_uuid() AS prediction_id, scored_stage.* FROM scored_stage
), saved AS (
    INSERT INTO predictions (
        prediction_id, student_key, as_of, created_at, feature_week, model_version, policy_version,
        risk_score, risk_60plus, category, coverage, attention_weeks
    )
    SELECT
        prediction_id, student_key, %(as_of)s, %(created_at)s, feature_week, %(model_version)s, %(policy_version)s,
        risk_score, risk_60plus, (%(categories)s::text[])[category + 1],
        jsonb_build_object('attendance', attendance, 'course', course, 'discipline', discipline, 'weeks', weeks), '[]'
    FROM answer WHERE category >= 0
)
INSERT INTO audit_log (actor, action, outcome, request_id, student_key, prediction_id)
SELECT
    %(actor)s, %(action)s, CASE WHEN category >= 0 THEN 'scored' ELSE 'insufficient_data' END, %(run_id)s::text,
    student_key, CASE WHEN category >= 0 THEN prediction_id END
FROM answer;

-- name: highest
-- What a chunk stores carries the moment at which the chunk was finished.
SELECT
    student.student_id, prediction.prediction_id::text, prediction.as_of, prediction.created_at,
    prediction.feature_week, prediction.model_version, prediction.policy_version, prediction.risk_score,
    prediction.risk_60plus, prediction.category, prediction.coverage, prediction.reasons,
    prediction.protective_factors, prediction.attention_weeks, prediction.role::text, prediction.challenge_id::text
FROM predictions AS prediction JOIN students AS student USING (student_key)
WHERE prediction.created_at >= (SELECT min(finished_at) FROM scoring_chunks WHERE run_id = %(run_id)s)
    AND prediction.created_at <= (SELECT max(finished_at) FROM scoring_chunks WHERE run_id = %(run_id)s)
    AND prediction.created_at IN (SELECT finished_at FROM scoring_chunks WHERE run_id = %(run_id)s)
    AND prediction.as_of = %(as_of)s
    AND prediction.model_version = %(model_version)s
ORDER BY prediction.risk_score DESC, prediction.student_key
LIMIT %(limit)s;
