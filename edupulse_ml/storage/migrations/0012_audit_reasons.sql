-- The reason that an override or a rollback needs stands in the audit trail itself; and a prediction that the challenger made
-- in the shadow is found by its own id, as any other.

ALTER TABLE audit_log ADD COLUMN reason text;
COMMENT ON COLUMN audit_log.reason IS 'Why, in the words of whoever decided; empty where nobody must say.';

CREATE INDEX shadow_predictions_by_id ON shadow_predictions (prediction_id);
