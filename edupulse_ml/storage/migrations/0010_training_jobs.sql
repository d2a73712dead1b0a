-- Training runs are queued, heard from and stopped; one of a district at a time, whoever starts it and however many ask.

ALTER TABLE training_jobs
    ADD COLUMN queued_at timestamptz,
    ADD COLUMN heartbeat_at timestamptz,
    ADD COLUMN submission_id text,
    ADD COLUMN asked_by text,
    ADD COLUMN request jsonb,
    ADD COLUMN request_sha256 text,
    ADD COLUMN idempotency_key text,
    ADD COLUMN run_name text,
    ADD COLUMN step text,
    ADD COLUMN epoch integer,
    ADD COLUMN of_epochs integer,
    ADD COLUMN metrics jsonb,
    ADD COLUMN lines jsonb NOT NULL DEFAULT '[]',
    DROP CONSTRAINT training_jobs_status_check,
    DROP CONSTRAINT training_jobs_check,
    ADD CONSTRAINT training_jobs_status_check
        CHECK (status IN ('queued', 'running', 'stopping', 'succeeded', 'failed', 'stopped')),
    ADD CONSTRAINT training_jobs_finished_check
        CHECK ((status IN ('queued', 'running', 'stopping')) = (finished_at IS NULL)),
    ADD CONSTRAINT training_jobs_queued_check CHECK (status <> 'queued' OR request IS NOT NULL),
    ADD CONSTRAINT training_jobs_key_check CHECK (idempotency_key IS NULL OR request_sha256 IS NOT NULL);

COMMENT ON COLUMN training_jobs.heartbeat_at IS
    'When the run, or the queue, was last heard of; empty: a release before 0010 began it, which nothing is known of.';
COMMENT ON COLUMN training_jobs.submission_id IS 'Id of the job on Ray; empty: it was started on a command line.';
COMMENT ON COLUMN training_jobs.request IS 'What the API was asked for; empty: it was started on a command line.';
COMMENT ON COLUMN training_jobs.run_name IS 'Name of its checkpoints on Ray, by which it can be resumed; empty: none.';
COMMENT ON COLUMN training_jobs.lines IS 'Latest of what the run said of itself, {at, text}; no student data.';

-- Rows of earlier releases have no heartbeat: a process of theirs that was killed left its row running for ever.
CREATE UNIQUE INDEX training_jobs_one_under_way ON training_jobs (district_id)
    WHERE kind = 'train' AND status IN ('queued', 'running', 'stopping') AND heartbeat_at IS NOT NULL;
CREATE UNIQUE INDEX training_jobs_by_key ON training_jobs (district_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
