-- Every verdict on a candidate and every move of the champion: who, why, on which figures. No student is named.

CREATE TABLE promotions (
    promotion_id uuid PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    kind text NOT NULL CHECK (kind IN ('promotion', 'refusal', 'override', 'rollback')),
    decided_at timestamptz NOT NULL,
    decided_by text NOT NULL CHECK (decided_by <> ''),
    reason text,
    from_version text,
    to_version text NOT NULL,
    policy_version text,
    figures jsonb NOT NULL,
    moved_at timestamptz,
    CHECK (kind NOT IN ('override', 'rollback') OR coalesce(reason, '') <> ''),
    CHECK (kind <> 'refusal' OR moved_at IS NULL)
);
COMMENT ON COLUMN promotions.from_version IS 'The champion before; empty: there was none.';
COMMENT ON COLUMN promotions.moved_at IS 'When the alias had moved; empty: refused, or killed before it moved.';
CREATE INDEX promotions_by_time ON promotions (district_id, decided_at DESC);

ALTER TABLE promotions ENABLE ROW LEVEL SECURITY;
ALTER TABLE promotions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_district ON promotions
    USING (district_id = (SELECT current_setting('edupulse.district', true)))
    WITH CHECK (district_id = (SELECT current_setting('edupulse.district', true)));
