-- Scorings of a whole district, and which of their chunks are stored: what was killed goes on with what is missing.

CREATE TABLE scoring_runs (
    run_id uuid PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    model_version text NOT NULL,
    contract_fingerprint text NOT NULL,
    source text NOT NULL,
    feature_week date NOT NULL,
    as_of timestamptz NOT NULL,
    as_of_day date NOT NULL,
    follows_clock boolean NOT NULL,
    last_import bigint NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz
);
COMMENT ON COLUMN scoring_runs.source IS 'Empty: the windows of this database; else what folder of windows.';
COMMENT ON COLUMN scoring_runs.follows_clock IS 'Asked for as of now, not as of a day.';
COMMENT ON COLUMN scoring_runs.last_import IS 'Latest import when the run began; 0 before the first.';
CREATE INDEX scoring_runs_by_week ON scoring_runs (district_id, feature_week, started_at DESC);

CREATE TABLE scoring_chunks (
    run_id uuid NOT NULL REFERENCES scoring_runs,
    file text NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    students integer NOT NULL,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    finished_at timestamptz,
    scored integer,
    insufficient integer,
    PRIMARY KEY (run_id, file, first),
    CHECK ((finished_at IS NULL) = (scored IS NULL) AND (finished_at IS NULL) = (insufficient IS NULL))
);
COMMENT ON COLUMN scoring_chunks.first IS 'First student key; where file is not empty, first row group of that file.';
COMMENT ON COLUMN scoring_chunks.students IS 'Students in the chunk, those included who are not to be scored.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['scoring_runs', 'scoring_chunks']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format(
            'CREATE POLICY own_district ON %I '
            'USING (district_id = (SELECT current_setting(''edupulse.district'', true))) '
            'WITH CHECK (district_id = (SELECT current_setting(''edupulse.district'', true)))',
            v_table
        );
    END LOOP;
END
$$;
