-- Challenges: a version beside the champion. What it answers is a prediction like any other and says so in `role`; what it
-- said unheard, in the shadow of an answer, has a table of its own, so that no reader of predictions, whatever its
-- release, takes it for an answer.

-- An enumeration checks itself: a constraint would read every prediction while nobody could answer.
CREATE TYPE prediction_role AS ENUM ('champion', 'challenger');
ALTER TABLE predictions ADD COLUMN role prediction_role NOT NULL DEFAULT 'champion';
ALTER TABLE predictions ADD COLUMN challenge_id uuid;
COMMENT ON COLUMN predictions.role IS 'In what capacity the model answered.';
COMMENT ON COLUMN predictions.challenge_id IS 'The challenge that split the students when this was answered; empty: none.';

CREATE TABLE challenge_settings (
    setting_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    challenge_id uuid NOT NULL,
    model_version text NOT NULL,
    shadow double precision NOT NULL CHECK (shadow BETWEEN 0 AND 1),
    split double precision NOT NULL CHECK (split BETWEEN 0 AND 1),
    is_over boolean NOT NULL,
    set_at timestamptz NOT NULL,
    set_by text NOT NULL CHECK (set_by <> ''),
    CHECK (NOT is_over OR shadow = 0 AND split = 0)
);
COMMENT ON TABLE challenge_settings IS 'Every setting of every challenge; the one set last holds.';
CREATE INDEX challenge_settings_by_time ON challenge_settings (district_id, setting_id DESC);

SELECT create_dated_table('shadow_predictions', 'created_at', $$
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    prediction_id uuid NOT NULL,
    beside_prediction_id uuid NOT NULL,
    challenge_id uuid NOT NULL,
    student_key bigint NOT NULL,
    as_of timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    feature_week date NOT NULL,
    model_version text NOT NULL,
    policy_version text NOT NULL,
    risk_score double precision NOT NULL CHECK (risk_score BETWEEN 0 AND 1),
    risk_60plus double precision NOT NULL CHECK (risk_60plus BETWEEN 0 AND 1),
    category text NOT NULL,
    answered_version text NOT NULL,
    answered_risk_score double precision NOT NULL CHECK (answered_risk_score BETWEEN 0 AND 1),
    answered_risk_60plus double precision NOT NULL CHECK (answered_risk_60plus BETWEEN 0 AND 1),
    answered_category text NOT NULL,
    PRIMARY KEY (beside_prediction_id, created_at)
$$);
COMMENT ON COLUMN shadow_predictions.beside_prediction_id IS 'The prediction that was answered.';
CREATE INDEX shadow_predictions_of_challenge ON shadow_predictions (challenge_id, created_at);

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['challenge_settings', 'shadow_predictions']
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
