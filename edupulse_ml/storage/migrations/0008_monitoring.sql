-- What the monitoring of a served model saw, one run a day and model, and its figures. No student is named.

CREATE TABLE monitoring_runs (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    model_version text NOT NULL,
    day date NOT NULL,
    as_of timestamptz NOT NULL,
    policy_version text NOT NULL,
    first_week date,
    last_week date,
    PRIMARY KEY (district_id, model_version, day)
);
COMMENT ON COLUMN monitoring_runs.day IS 'District-local day of as_of; a later run of the day replaces the earlier one.';
COMMENT ON COLUMN monitoring_runs.first_week IS 'Monday of the first week compared with the training cohort; empty: none.';
CREATE INDEX monitoring_runs_by_time ON monitoring_runs (district_id, as_of DESC);

CREATE TABLE monitoring_figures (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    model_version text NOT NULL,
    day date NOT NULL,
    position smallint NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    value double precision,
    "limit" double precision,
    low double precision,
    high double precision,
    reference double precision,
    chance double precision,
    n integer CHECK (n >= 10),
    is_alert boolean NOT NULL,
    note text,
    PRIMARY KEY (district_id, model_version, day, kind, subject),
    FOREIGN KEY (district_id, model_version, day) REFERENCES monitoring_runs ON DELETE CASCADE
);
COMMENT ON COLUMN monitoring_figures.value IS 'Empty: note says why.';
COMMENT ON COLUMN monitoring_figures.subject IS 'A feature, a task, or a task and an audit attribute.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['monitoring_runs', 'monitoring_figures']
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
