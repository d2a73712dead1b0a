-- Runs of a month and their steps. Those that write run on the connection that holds the lock.

-- name: lock
-- One run of a district at a time, whatever its month; the lock ends with its connection.
SELECT pg_advisory_lock(hashtextextended('edupulse.month.' || current_setting('edupulse.district'), 0));

-- name: patience
-- How long the lock is waited for.
SELECT set_config('lock_timeout', %(milliseconds)s::integer::text, false);

-- name: any_patience
RESET lock_timeout;

-- name: keep_idle_session
-- The server leaves the connection alone while a step takes hours, and notices within half a minute that its other end is gone.
SELECT
    set_config('idle_session_timeout', '0', false),
    set_config('tcp_keepalives_idle', '15', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false);

-- name: begin
INSERT INTO monthly_runs (run_id, month, number, started_at, parameters)
SELECT %(run_id)s, %(month)s, coalesce(max(number), 0) + 1, %(started_at)s, %(parameters)s
FROM monthly_runs WHERE month = %(month)s
RETURNING run_id, month, number, started_at, parameters, finished_at, outcome;

-- name: finish
UPDATE monthly_runs SET finished_at = %(finished_at)s, outcome = %(outcome)s
WHERE run_id = %(run_id)s AND finished_at IS NULL;

-- name: begin_step
INSERT INTO monthly_steps (run_id, step, tries, started_at) VALUES (%(run_id)s, %(step)s, 1, %(started_at)s)
ON CONFLICT (run_id, step) DO UPDATE
SET tries = monthly_steps.tries + 1, started_at = excluded.started_at, error = NULL
WHERE monthly_steps.finished_at IS NULL;

-- name: finish_step
UPDATE monthly_steps SET finished_at = %(finished_at)s, result = %(result)s, error = NULL
WHERE run_id = %(run_id)s AND step = %(step)s AND finished_at IS NULL;

-- name: fail_step
UPDATE monthly_steps SET error = %(error)s WHERE run_id = %(run_id)s AND step = %(step)s AND finished_at IS NULL;

-- name: latest
SELECT run_id, month, number, started_at, parameters, finished_at, outcome
FROM monthly_runs WHERE month = %(month)s ORDER BY number DESC LIMIT 1;

-- name: finished_before
-- The last month before this one that ended with a candidate judged.
SELECT run_id, month, number, started_at, parameters, finished_at, outcome
FROM monthly_runs WHERE month < %(month)s AND outcome <> 'blocked' ORDER BY month DESC, number DESC LIMIT 1;

-- name: steps
SELECT step, tries, started_at, finished_at, result, error
FROM monthly_steps WHERE run_id = %(run_id)s ORDER BY started_at, step;
