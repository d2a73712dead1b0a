-- Training runs, kept where they outlive the cluster that ran them.

-- name: start
INSERT INTO training_jobs (job_id, kind, status, started_at, parameters)
VALUES (%(job_id)s, %(kind)s, 'running', %(started_at)s, %(parameters)s);

-- name: finish
UPDATE training_jobs
SET status = %(status)s, finished_at = %(finished_at)s, model_version = %(model_version)s,
    summary = %(summary)s, error = %(error)s
WHERE job_id = %(job_id)s AND status = 'running';

-- name: latest
SELECT job_id, kind, status, started_at, finished_at, parameters, model_version, summary, error
FROM training_jobs ORDER BY started_at DESC, job_id LIMIT %(limit)s;
