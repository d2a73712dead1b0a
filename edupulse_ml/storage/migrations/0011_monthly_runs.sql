-- The month of a district, step by step: what was killed goes on with the step that is not done. No student is named.

CREATE TABLE monthly_runs (
    run_id uuid PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    number integer NOT NULL CHECK (number > 0),
    started_at timestamptz NOT NULL,
    parameters jsonb NOT NULL,
    finished_at timestamptz,
    outcome text CHECK (outcome IN ('first', 'promoted', 'refused', 'blocked')),
    UNIQUE (district_id, month, number),
    CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
COMMENT ON COLUMN monthly_runs.number IS 'Counts the runs of a month: asked for again, or anew after data that blocked it.';
COMMENT ON COLUMN monthly_runs.parameters IS 'What was asked for when the run began.';
COMMENT ON COLUMN monthly_runs.outcome IS 'What became of the candidate; blocked: none was trained, because of the data.';

CREATE TABLE monthly_steps (
    run_id uuid NOT NULL REFERENCES monthly_runs,
    step text NOT NULL,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    tries integer NOT NULL CHECK (tries > 0),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    result jsonb,
    error text,
    PRIMARY KEY (run_id, step),
    CHECK ((finished_at IS NULL) = (result IS NULL))
);
COMMENT ON COLUMN monthly_steps.started_at IS 'Of the latest try.';
COMMENT ON COLUMN monthly_steps.error IS 'Why the latest try failed; empty also where its process was killed.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['monthly_runs', 'monthly_steps']
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
