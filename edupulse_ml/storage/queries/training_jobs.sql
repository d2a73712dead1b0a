-- Training runs, kept where they outlive the cluster that ran them.

-- name: start_search
INSERT INTO training_jobs (job_id, kind, status, started_at, heartbeat_at, parameters)
VALUES (%(job_id)s, 'tune', 'running', %(at)s, %(at)s, %(parameters)s);

-- name: claim
-- Begins nothing where another run is under way or the key is known. What is begun is audited with it.
WITH begun AS (
    INSERT INTO training_jobs (
        job_id, kind, status, started_at, queued_at, heartbeat_at, parameters, submission_id, asked_by, request,
        request_sha256, idempotency_key, run_name
    )
    VALUES (
        %(job_id)s, 'train', %(status)s, %(at)s, CASE %(status)s WHEN 'queued' THEN %(at)s END, %(at)s, %(parameters)s,
        %(submission_id)s, %(asked_by)s, %(request)s, %(request_sha256)s, %(idempotency_key)s, %(run_name)s
    )
    ON CONFLICT DO NOTHING
    RETURNING job_id
)
INSERT INTO audit_log (actor, action, outcome, request_id)
SELECT %(asked_by)s, 'train_start', %(status)s, %(request_id)s FROM begun;

-- name: refused
INSERT INTO audit_log (actor, action, outcome, request_id)
VALUES (%(asked_by)s, 'train_start', 'refused', %(request_id)s);

-- name: ensure_audit_months
-- This month and the next; the server's clock dates the audit trail.
SELECT ensure_partitions('audit_log', (now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 31);

-- name: take_up
UPDATE training_jobs
SET status = 'running', started_at = %(at)s, heartbeat_at = %(at)s
WHERE job_id = %(job_id)s AND status = 'queued'
RETURNING {columns};

-- name: hear
-- A sign of life, with what is new. Whoever was told of another end meanwhile gets no row.
UPDATE training_jobs
SET
    heartbeat_at = %(at)s, step = coalesce(%(step)s, step), epoch = %(epoch)s, of_epochs = %(of_epochs)s,
    metrics = coalesce(%(metrics)s, metrics),
    lines = (
        SELECT coalesce(jsonb_agg(line ORDER BY position), '[]')
        FROM (
            SELECT line, position FROM jsonb_array_elements(lines || %(lines)s) WITH ORDINALITY AS known (line, position)
            ORDER BY position DESC LIMIT %(max_lines)s
        ) AS latest
    )
WHERE job_id = %(job_id)s AND status IN ('running', 'stopping')
RETURNING status;

-- name: ask_to_stop
-- A run that waits in the queue ends here, one that runs has to end itself. Asking twice changes nothing.
WITH asked AS (
    UPDATE training_jobs
    SET
        status = CASE status WHEN 'queued' THEN 'stopped' ELSE 'stopping' END,
        finished_at = CASE status WHEN 'queued' THEN %(at)s::timestamptz END,
        error = CASE status WHEN 'queued' THEN %(stopped)s END
    WHERE job_id = %(job_id)s AND status IN ('queued', 'running')
    RETURNING status
)
INSERT INTO audit_log (actor, action, outcome, request_id)
SELECT %(asked_by)s, 'train_stop', status, %(request_id)s FROM asked;

-- name: settle
UPDATE training_jobs
SET
    status = %(status)s, finished_at = %(at)s, error = %(sentence)s,
    idempotency_key = CASE WHEN %(forget_key)s THEN NULL ELSE idempotency_key END
WHERE job_id = %(job_id)s AND status = %(was)s;

-- name: finish
-- A run that fails after it was asked to stop was stopped.
UPDATE training_jobs
SET
    status = CASE WHEN status = 'stopping' AND %(status)s = 'failed' THEN 'stopped' ELSE %(status)s END,
    finished_at = %(finished_at)s, model_version = %(model_version)s, summary = %(summary)s, error = %(error)s
WHERE job_id = %(job_id)s AND status IN ('running', 'stopping');

-- name: latest
SELECT {columns} FROM training_jobs ORDER BY started_at DESC, job_id LIMIT %(limit)s;

-- name: find
SELECT {columns} FROM training_jobs WHERE job_id = %(job_id)s;

-- name: with_key
SELECT {columns} FROM training_jobs WHERE idempotency_key = %(key)s;

-- name: knows_run_name
SELECT EXISTS (SELECT FROM training_jobs WHERE run_name = %(run_name)s);

-- name: under_way
SELECT {columns} FROM training_jobs
WHERE kind = 'train' AND status IN ('queued', 'running', 'stopping') AND heartbeat_at IS NOT NULL;

-- name: seconds_of_runs_like
-- The last five that succeeded with the same strategy, workers and bounds.
SELECT extract(epoch FROM finished_at - started_at)::double precision FROM training_jobs
WHERE status = 'succeeded' AND kind = 'train' AND request IS NOT NULL
    AND (request - 'test_year' - 'seed' - 'promote' - 'resume')
        = (SELECT request - 'test_year' - 'seed' - 'promote' - 'resume' FROM training_jobs WHERE job_id = %(job_id)s)
ORDER BY finished_at DESC LIMIT 5;
