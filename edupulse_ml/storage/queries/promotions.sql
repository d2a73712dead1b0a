-- Verdicts on candidates and moves of the champion; nothing is rewritten but the note that the alias has moved.

-- name: lock
-- One promotion or rollback of a district at a time; the lock ends with its connection.
SELECT pg_try_advisory_lock(hashtextextended('edupulse.promotion.' || current_setting('edupulse.district'), 0));

-- name: decide
-- The decision and its line in the audit trail.
WITH decided AS (
    INSERT INTO promotions (
        promotion_id, kind, decided_at, decided_by, reason, from_version, to_version, policy_version, figures
    )
    VALUES (
        %(promotion_id)s, %(kind)s, %(decided_at)s, %(decided_by)s, %(reason)s, %(from_version)s, %(to_version)s,
        %(policy_version)s, %(figures)s
    )
)
INSERT INTO audit_log (actor, action, outcome, request_id, reason)
VALUES (%(decided_by)s, 'promote', %(kind)s, %(promotion_id)s::text, %(reason)s);

-- name: ensure_audit_months
-- This month and the next; the server's clock dates the audit trail.
SELECT ensure_partitions('audit_log', (now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 31);

-- name: moved
UPDATE promotions SET moved_at = %(moved_at)s WHERE promotion_id = %(promotion_id)s AND moved_at IS NULL;

-- name: latest
SELECT
    promotion_id, kind, decided_at, decided_by, reason, from_version, to_version, policy_version, figures, moved_at
FROM promotions ORDER BY decided_at DESC, promotion_id LIMIT %(limit)s;

-- name: moves
-- Decisions after which the alias moved, oldest first.
SELECT
    promotion_id, kind, decided_at, decided_by, reason, from_version, to_version, policy_version, figures, moved_at
FROM promotions WHERE moved_at IS NOT NULL ORDER BY moved_at, decided_at;
