-- What people say back: outcomes, support given, opinions on a flag; and `training_feedback`, the part that reaches training.

-- No release has written to the table that had this name. Rows of anybody else's are not thrown away: forced policies
-- would hide them from this question.
ALTER TABLE training_feedback NO FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF EXISTS (SELECT FROM training_feedback) THEN
        RAISE EXCEPTION 'table training_feedback holds rows, which no release of EduPulse wrote'
            USING HINT = 'Move them to a table of your own, delete them here, and migrate again.';
    END IF;
END
$$;
DROP TABLE training_feedback;

CREATE TABLE feedback (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    feedback_key text NOT NULL CHECK (feedback_key <> ''),
    student_key bigint NOT NULL REFERENCES students,
    kind text NOT NULL CHECK (kind IN ('outcome', 'flag', 'intervention')),
    value text NOT NULL,
    prediction_id uuid,
    starts_on date,
    ends_on date,
    given_by text NOT NULL CHECK (given_by <> ''),
    retracted boolean NOT NULL DEFAULT false,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    PRIMARY KEY (district_id, feedback_key, recorded_at),
    CHECK (superseded_at > recorded_at),
    CHECK (ends_on >= starts_on),
    CHECK ((kind = 'flag') = (prediction_id IS NOT NULL)),
    CHECK ((kind = 'flag') = (starts_on IS NULL)),
    CHECK (kind = 'intervention' OR ends_on IS NULL),
    CHECK (kind <> 'outcome' OR value IN ('left', 'stayed', 'transferred', 'graduated')),
    CHECK (kind <> 'flag' OR value IN ('useful', 'not_useful', 'wrong', 'already_known'))
);
COMMENT ON COLUMN feedback.feedback_key IS 'The giver''s own name for the statement; versions of one statement share it.';
COMMENT ON COLUMN feedback.starts_on IS 'Of an outcome the day it happened; empty for an opinion on a flag.';
COMMENT ON COLUMN feedback.recorded_at IS 'When the district knew it; of an outcome its label_known_at.';
CREATE UNIQUE INDEX feedback_current ON feedback (district_id, feedback_key) WHERE superseded_at IS NULL;
CREATE INDEX feedback_of_student ON feedback (student_key, recorded_at);

ALTER TABLE feedback ENABLE ROW LEVEL SECURITY;
ALTER TABLE feedback FORCE ROW LEVEL SECURITY;
CREATE POLICY own_district ON feedback
    USING (district_id = (SELECT current_setting('edupulse.district', true)))
    WITH CHECK (district_id = (SELECT current_setting('edupulse.district', true)));

-- Seen with the rights, and through the policies, of whoever asks.
CREATE VIEW training_feedback WITH (security_invoker = true) AS
SELECT district_id, student_key, kind, value, starts_on, ends_on, recorded_at AS label_known_at, superseded_at
FROM feedback
WHERE kind IN ('outcome', 'intervention') AND NOT retracted;
COMMENT ON VIEW training_feedback IS 'Outcomes and support as training reads them; opinions on flags are not among them.';
