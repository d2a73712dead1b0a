-- Materialised student-weeks. Weeks are the Monday's date; arrays are in the order of the feature contract.

-- name: find_windows
-- One row of arrays, position i = the i-th id: the student's key (0: unknown), whether the stored weeks are current,
-- and the length of the window in bytes (-1: none that holds for this week); and all windows one after the other.
WITH found AS (
    SELECT
        asked.position,
        student.student_key,
        coalesce(state.through_week >= %(through_week)s::date, false) AND queued.student_key IS NULL AS is_current,
        state.window_kept_by IS NOT NULL AS is_kept,
        stored.encoded
    FROM unnest(%(student_ids)s::text[]) WITH ORDINALITY AS asked (student_id, position)
    LEFT JOIN students AS student ON student.student_id = asked.student_id
    LEFT JOIN feature_states AS state
        ON state.student_key = student.student_key AND state.contract_fingerprint = %(contract_fingerprint)s
    LEFT JOIN feature_refresh_queue AS queued
        ON queued.student_key = student.student_key AND queued.from_week <= %(through_week)s::date
    LEFT JOIN feature_windows AS stored
        ON stored.student_key = student.student_key
        AND stored.contract_fingerprint = %(contract_fingerprint)s
        AND %(through_week)s::date BETWEEN stored.last_week AND stored.through_week
), usable AS (
    SELECT
        position, student_key, is_current,
        CASE WHEN is_current AND is_kept AND octet_length(encoded) IN (0, %(size_bytes)s::integer) THEN encoded END
            AS encoded
    FROM found
)
SELECT
    array_agg(coalesce(student_key, 0) ORDER BY position) AS student_key,
    array_agg(is_current ORDER BY position) AS is_current,
    array_agg(coalesce(octet_length(encoded), -1) ORDER BY position) AS size_bytes,
    coalesce(string_agg(encoded, '' ORDER BY position), '') AS encoded
FROM usable;

-- name: latest_windows
-- One row of arrays: the last steps of each student asked for, and per student whether they are current, that is,
-- complete through the week asked for and not overtaken by an import.
WITH asked AS (
    SELECT student_key, position FROM unnest(%(keys)s::bigint[]) WITH ORDINALITY AS asked (student_key, position)
), school_positions AS (
    SELECT school_key, row_number() OVER (ORDER BY school_key) - 1 AS position FROM schools
), steps AS (
    SELECT asked.position, step.*
    FROM asked
    CROSS JOIN LATERAL (
        SELECT * FROM student_features AS stored
        WHERE stored.student_key = asked.student_key
            AND stored.contract_fingerprint = %(contract_fingerprint)s
            AND stored.week <= %(through_week)s::date
        ORDER BY stored.week DESC
        LIMIT %(window_weeks)s
    ) AS step
), packed AS (
    SELECT
        array_agg(steps.position - 1) AS student,
        array_agg(steps.week - date '1970-01-01') AS week,
        array_agg(school.position) AS school,
        array_agg(steps.grade_level) AS grade_level,
        array_agg(steps.school_year) AS school_year,
        array_agg(steps.feature_values) AS feature_values,
        array_agg(steps.support) AS support,
        array_agg(steps.aux) AS aux,
        array_agg(steps.context) AS context,
        array_agg(steps.known_mask) AS known_mask
    FROM steps JOIN school_positions AS school USING (school_key)
), currency AS (
    SELECT array_agg(
        coalesce(state.through_week >= %(through_week)s::date, false) AND queued.student_key IS NULL
        ORDER BY asked.position
    ) AS is_current
    FROM asked
    LEFT JOIN feature_states AS state
        ON state.student_key = asked.student_key AND state.contract_fingerprint = %(contract_fingerprint)s
    LEFT JOIN feature_refresh_queue AS queued
        ON queued.student_key = asked.student_key AND queued.from_week <= %(through_week)s::date
)
SELECT packed.*, currency.is_current FROM packed CROSS JOIN currency;

-- name: history
-- One row of arrays: every stored step of these students between two weeks, both included.
WITH school_positions AS (
    SELECT school_key, row_number() OVER (ORDER BY school_key) - 1 AS position FROM schools
)
SELECT
    array_agg(array_position(%(keys)s::bigint[], stored.student_key) - 1) AS student,
    array_agg(stored.week - date '1970-01-01') AS week,
    array_agg(school.position) AS school,
    array_agg(stored.grade_level) AS grade_level,
    array_agg(stored.school_year) AS school_year,
    array_agg(stored.feature_values) AS feature_values,
    array_agg(stored.support) AS support,
    array_agg(stored.aux) AS aux,
    array_agg(stored.context) AS context,
    array_agg(stored.known_mask) AS known_mask
FROM student_features AS stored JOIN school_positions AS school USING (school_key)
WHERE stored.student_key = ANY(%(keys)s::bigint[])
    AND stored.contract_fingerprint = %(contract_fingerprint)s
    AND stored.week BETWEEN %(from_week)s AND %(to_week)s;

-- name: school_keys
SELECT coalesce(array_agg(school_key ORDER BY school_key), '{}') FROM schools;

-- name: create_stage
CREATE TEMP TABLE feature_stage (
    student_key bigint NOT NULL,
    week date NOT NULL,
    school_key integer NOT NULL,
    grade_level smallint NOT NULL,
    school_year smallint NOT NULL,
    feature_values real[] NOT NULL,
    support real[] NOT NULL,
    aux real[] NOT NULL,
    context real[] NOT NULL,
    known_mask boolean[] NOT NULL
) ON COMMIT DROP;

-- name: copy_stage
COPY feature_stage FROM STDIN (FORMAT binary);

-- name: analyze_stage
ANALYZE feature_stage;

-- name: merge_stage
-- The order keeps two writers of the same students from blocking each other crosswise.
INSERT INTO student_features AS stored (
    contract_fingerprint, student_key, week, school_key, grade_level, school_year,
    feature_values, support, aux, context, known_mask
)
SELECT %(contract_fingerprint)s, feature_stage.* FROM feature_stage ORDER BY student_key, week
ON CONFLICT (student_key, contract_fingerprint, week) DO UPDATE
SET school_key = excluded.school_key, grade_level = excluded.grade_level, school_year = excluded.school_year,
    feature_values = excluded.feature_values, support = excluded.support, aux = excluded.aux,
    context = excluded.context, known_mask = excluded.known_mask
WHERE (stored.school_key, stored.grade_level, stored.school_year, stored.feature_values, stored.support, stored.aux,
        stored.context, stored.known_mask)
    IS DISTINCT FROM
    (excluded.school_key, excluded.grade_level, excluded.school_year, excluded.feature_values, excluded.support,
        excluded.aux, excluded.context, excluded.known_mask);

-- name: delete_stale
-- Weeks that are no step any more, because the calendar or an enrolment changed.
DELETE FROM student_features AS stored
WHERE stored.student_key = ANY(%(keys)s::bigint[])
    AND stored.contract_fingerprint = %(contract_fingerprint)s
    AND stored.week <= %(through_week)s
    AND NOT EXISTS (
        SELECT FROM feature_stage AS fresh WHERE fresh.student_key = stored.student_key AND fresh.week = stored.week
    );

-- name: write_windows
-- The order keeps two writers of the same students from blocking each other crosswise. A window that did not change is
-- left alone, because rewriting it costs as much as writing it.
INSERT INTO feature_windows AS stored (student_key, contract_fingerprint, last_week, through_week, encoded)
SELECT student_key, %(contract_fingerprint)s, coalesce(last_week, '-infinity'), %(through_week)s, encoded
FROM unnest(%(keys)b::bigint[], %(last_weeks)s::date[], %(encoded)b::bytea[]) AS given (student_key, last_week, encoded)
ORDER BY student_key
ON CONFLICT (student_key, contract_fingerprint) DO UPDATE
SET last_week = excluded.last_week, through_week = excluded.through_week, encoded = excluded.encoded
WHERE (stored.last_week, stored.through_week, stored.encoded)
    IS DISTINCT FROM (excluded.last_week, excluded.through_week, excluded.encoded);

-- name: take_refresh_lock
-- Held by the session, whatever its transactions do; one per district.
SELECT pg_advisory_lock(hashtext('edupulse.refresh'), hashtext(current_setting('edupulse.district')));

-- name: keep_idle_session
SET idle_session_timeout = 0;

-- name: release_refresh_lock
SELECT pg_advisory_unlock(hashtext('edupulse.refresh'), hashtext(current_setting('edupulse.district')));

-- name: carry_forward
-- Students whose last possible step is stored: every enrolment has ended, and no version that was superseded later
-- could reach beyond. `superseded_at` is compared in UTC, which is at most a day off the district's; the week left
-- over covers that. An import that changes this puts the student in the queue.
-- A window that was complete stays the last one for good.
WITH gone AS (
    SELECT state.student_key, state.through_week, state.window_kept_by IS NOT NULL AS has_window
    FROM feature_states AS state
    WHERE state.contract_fingerprint = %(contract_fingerprint)s
        AND state.through_week < %(through_week)s::date
        AND NOT EXISTS (SELECT FROM feature_refresh_queue AS queued WHERE queued.student_key = state.student_key)
        AND NOT EXISTS (
            SELECT FROM enrollments AS enrollment
            WHERE enrollment.student_key = state.student_key
                AND CASE
                    WHEN enrollment.superseded_at IS NULL
                    THEN coalesce(enrollment.exit_date > state.through_week + 7, true)
                    ELSE enrollment.superseded_at >= state.through_week + 7
                END
        )
), kept AS (
    UPDATE feature_windows AS stored SET through_week = 'infinity'
    FROM gone
    WHERE stored.student_key = gone.student_key AND stored.contract_fingerprint = %(contract_fingerprint)s
        AND gone.has_window AND stored.through_week >= gone.through_week AND stored.through_week < 'infinity'
)
UPDATE feature_states AS state
SET through_week = %(through_week)s::date,
    window_kept_by = CASE WHEN gone.has_window THEN pg_current_xact_id() END
FROM gone
WHERE state.student_key = gone.student_key
    AND state.contract_fingerprint = %(contract_fingerprint)s
    AND state.through_week = gone.through_week;

-- name: pending
-- Students touched by an import, not yet materialised for this contract, not through this week, or without the window
-- that serving reads.
SELECT student.student_key, coalesce(queued.revision, 0)
FROM students AS student
LEFT JOIN feature_states AS state
    ON state.student_key = student.student_key AND state.contract_fingerprint = %(contract_fingerprint)s
LEFT JOIN feature_refresh_queue AS queued
    ON queued.student_key = student.student_key AND queued.from_week <= %(through_week)s
WHERE student.student_key > %(after)s
    AND (
        queued.student_key IS NOT NULL
        OR state.through_week IS NULL
        OR state.through_week < %(through_week)s
        OR (state.through_week = %(through_week)s AND state.window_kept_by IS NULL)
    )
ORDER BY student.student_key
LIMIT %(limit)s;

-- name: mark_through
INSERT INTO feature_states AS state (student_key, contract_fingerprint, through_week, window_kept_by)
SELECT student_key, %(contract_fingerprint)s, %(through_week)s, pg_current_xact_id()
FROM unnest(%(keys)s::bigint[]) AS student_key
ORDER BY student_key
ON CONFLICT (student_key, contract_fingerprint) DO UPDATE
SET through_week = excluded.through_week, window_kept_by = excluded.window_kept_by;

-- name: leave_queue
-- An entry that an import renewed meanwhile has another revision and stays. The entry spoke for every contract: the
-- weeks of the others hold from now on only up to the one before it.
WITH gone AS (
    DELETE FROM feature_refresh_queue AS queued
    USING unnest(%(keys)s::bigint[], %(revisions)s::bigint[]) AS done (student_key, revision)
    WHERE queued.student_key = done.student_key AND queued.revision = done.revision
    RETURNING queued.student_key, queued.from_week
)
UPDATE feature_states AS state SET through_week = gone.from_week - 7
FROM gone
WHERE state.student_key = gone.student_key
    AND state.contract_fingerprint <> %(contract_fingerprint)s
    AND state.through_week >= gone.from_week;
