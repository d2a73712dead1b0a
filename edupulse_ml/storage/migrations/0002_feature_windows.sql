-- The last window of each student as serving reads it: one row by primary key instead of one row per week.

CREATE TABLE feature_windows (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    contract_fingerprint text NOT NULL,
    last_week date NOT NULL,
    through_week date NOT NULL,
    encoded bytea NOT NULL,
    PRIMARY KEY (student_key, contract_fingerprint),
    CHECK (last_week <= through_week)
);
COMMENT ON TABLE feature_windows IS 'The last steps of a student as of any week from last_week to through_week.';
COMMENT ON COLUMN feature_windows.last_week IS 'Week of the last step; -infinity for a student without any.';
COMMENT ON COLUMN feature_windows.through_week IS 'infinity for a student who has left and gets no further step.';
COMMENT ON COLUMN feature_windows.encoded IS 'The steps in the layout of core/windows.py; empty without any.';

-- Compressed by whatever the server has: a third of the size for two microseconds more per read.
DO $$
BEGIN
    ALTER TABLE feature_windows ALTER COLUMN encoded SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;

ALTER TABLE feature_windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE feature_windows FORCE ROW LEVEL SECURITY;
CREATE POLICY own_district ON feature_windows
    USING (district_id = (SELECT current_setting('edupulse.district', true)))
    WITH CHECK (district_id = (SELECT current_setting('edupulse.district', true)));

-- A release that knows no windows leaves them as they were when it refreshes a student's weeks. It leaves this column
-- alone, too, whereas a release that writes the window sets it anew: so a window that was not refreshed is not served.
ALTER TABLE feature_states ADD COLUMN window_kept_by xid8;
COMMENT ON COLUMN feature_states.window_kept_by IS 'Transaction that vouched for the window; null: it is not to be used.';

CREATE FUNCTION drop_window_not_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.window_kept_by := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER drop_window_not_kept BEFORE UPDATE ON feature_states
    FOR EACH ROW WHEN (NEW.window_kept_by = OLD.window_kept_by)
    EXECUTE FUNCTION drop_window_not_kept();
