-- Import of record files: staging, versions of dated records, and what an import leaves behind.
-- `stage` holds what the file says, of dated tables with keys for students and schools; `{source}` is a select over it.
-- Rows of new months pass it by: see begin_month.

-- name: take_import_lock
-- Imports of one district wait for each other until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('edupulse.import'), hashtext(current_setting('edupulse.district')));

-- name: set_work_memory
-- Sorts and hash tables over millions of rows; holds for the import's transaction only.
SET LOCAL work_mem = '128MB';

-- name: create_changes
-- Students whose records this import changed, and the earliest moment from which what is known about them differs.
CREATE TEMP TABLE changes (student_key bigint NOT NULL, first_moment timestamptz NOT NULL) ON COMMIT DROP;

-- name: create_stage
CREATE TEMP TABLE stage (line bigint NOT NULL, {definitions}) ON COMMIT DROP;

-- name: copy_stage
COPY stage FROM STDIN (FORMAT binary);

-- name: copy_month
COPY {month} ({columns}, recorded_at) FROM STDIN (FORMAT binary);

-- name: copy_changes
COPY changes FROM STDIN (FORMAT binary);

-- name: student_keys
SELECT student_id, student_key FROM students WHERE student_id = ANY(%(names)s::text[]);

-- name: school_keys
SELECT school_id, school_key FROM schools WHERE school_id = ANY(%(names)s::text[]);

-- name: analyze_stage
ANALYZE stage;

-- name: drop_stage
DROP TABLE stage;

-- name: is_empty
-- Through the district's own students, student by student: the table has no index on the district, and a scan would
-- pass over the rows of all others.
SELECT NOT EXISTS (
    SELECT FROM students AS student
    CROSS JOIN LATERAL (SELECT FROM {table} AS stored WHERE stored.student_key = student.student_key LIMIT 1) AS found
);

-- name: drop_unchanged
-- Rows that are stored as they are need no comparison with other versions, unless other lines have their key. NOT IN
-- is hashed whatever the planner expects; as a join it went through all repeated keys per row.
DELETE FROM stage USING {table} AS stored
WHERE {bound} AND {same_key_staged} AND stage.recorded_at = stored.recorded_at
    AND ({staged_values}) IS NOT DISTINCT FROM ({stored_values})
    AND ({staged_key}) NOT IN (SELECT {key} FROM repeated);

-- name: several_versions
-- Keys that stand in the source more than once.
CREATE TEMP TABLE several ON COMMIT DROP AS
SELECT {key} FROM ({source}) AS incoming GROUP BY {key} HAVING count(*) > 1;

-- name: insert_single_versions
-- Into an empty table: rows whose key stands in the source once need no comparison.
INSERT INTO {table} ({columns}, recorded_at)
SELECT {columns}, recorded_at FROM ({source}) AS incoming
WHERE NOT EXISTS (SELECT FROM several WHERE {same_key_several});

-- name: note_single_versions
INSERT INTO changes
SELECT student_key, min(recorded_at) FROM ({source}) AS incoming
WHERE NOT EXISTS (SELECT FROM several WHERE {same_key_several})
GROUP BY student_key;

-- name: merge_versions
-- Incoming versions and the stored ones of the same keys, in the order in which they were recorded.
-- `merge_action`: insert | update (a version of a known key) | chain (a stored version whose end changes) |
-- duplicate | conflict (rejected lines). Versions that change nothing are left out.
CREATE TEMP TABLE outcome ON COMMIT DROP AS
WITH incoming AS NOT MATERIALIZED (
    SELECT * FROM ({source}) AS every {only_several}
), versions AS (
    SELECT line, {columns}, recorded_at, NULL::timestamptz AS closed_at, false AS is_stored FROM incoming
    UNION ALL
    SELECT NULL, {stored_columns}, stored.recorded_at, stored.superseded_at, true
    FROM {table} AS stored
    WHERE %(has_rows)s AND {bound} AND EXISTS (SELECT FROM incoming WHERE {same_key_stored})
), compared AS (
    SELECT *,
        lag(recorded_at) OVER chain IS NOT DISTINCT FROM recorded_at AS is_same_moment,
        lag(is_stored) OVER chain AS follows_stored,
        ({values}) IS NOT DISTINCT FROM ({previous_values}) AS is_same
    FROM versions
    WINDOW chain AS (PARTITION BY {key} ORDER BY recorded_at, is_stored DESC, line)
), moments AS (
    SELECT *,
        lag(recorded_at) OVER chain IS NOT NULL AND ({values}) IS NOT DISTINCT FROM ({previous_values}) AS is_repeat
    FROM compared
    WHERE NOT is_same_moment
    WINDOW chain AS (PARTITION BY {key} ORDER BY recorded_at)
), chained AS (
    SELECT *,
        lead(recorded_at) OVER chain AS next_at,
        bool_or(is_stored) OVER (PARTITION BY {key}) AS is_known_key
    FROM moments
    WHERE is_stored OR NOT is_repeat
    WINDOW chain AS (PARTITION BY {key} ORDER BY recorded_at)
)
SELECT line, {columns}, recorded_at, next_at AS superseded_at,
    CASE WHEN is_stored THEN 'chain' WHEN is_known_key THEN 'update' ELSE 'insert' END AS merge_action
FROM chained
WHERE NOT is_stored OR closed_at IS DISTINCT FROM next_at
UNION ALL
SELECT line, {columns}, recorded_at, NULL,
    CASE WHEN follows_stored THEN 'conflict' ELSE 'duplicate' END
FROM compared
WHERE is_same_moment AND NOT is_stored AND NOT (follows_stored AND is_same);

-- name: close_versions
UPDATE {table} AS stored SET superseded_at = outcome.superseded_at
FROM outcome
WHERE outcome.merge_action = 'chain' AND {same_version} AND stored.recorded_at = outcome.recorded_at;

-- name: insert_versions
INSERT INTO {table} ({columns}, recorded_at, superseded_at)
SELECT {columns}, recorded_at, superseded_at FROM outcome WHERE merge_action IN ('insert', 'update');

-- name: note_versions
INSERT INTO changes
SELECT student_key, min(recorded_at) FROM outcome WHERE merge_action IN ('insert', 'update') GROUP BY student_key;

-- name: count_outcome
-- Lines inserted and updated, and stored versions whose end changes. Lines below zero are versions that the import
-- added to a line of the file.
SELECT
    count(*) FILTER (WHERE merge_action = 'insert' AND line > 0),
    count(*) FILTER (WHERE merge_action = 'update' AND line > 0),
    count(*) FILTER (WHERE merge_action = 'chain')
FROM outcome;

-- name: prefer_lookups
-- A look at the index per row, in the row's month, however large the tables are thought to be.
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: prefer_nothing
SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true);

-- name: rejected_outcome
SELECT line, merge_action = 'conflict' FROM outcome WHERE merge_action IN ('duplicate', 'conflict') ORDER BY line;

-- name: drop_outcome
DROP TABLE outcome;

-- name: drop_several
DROP TABLE several;

-- name: assign_moments
-- Rows without recorded_at: a new key counts as known after the table's lag, another value as known from now on.
CREATE TEMP TABLE assigned ON COMMIT DROP AS
SELECT
    incoming.line, {incoming_columns},
    CASE
        WHEN latest.recorded_at IS NULL THEN least({default_moment}, %(now)s)
        ELSE greatest(%(now)s, latest.recorded_at + interval '1 microsecond')
    END AS recorded_at,
    latest.recorded_at IS NULL AS is_new,
    latest.recorded_at IS NOT NULL AND ({incoming_values}) IS NOT DISTINCT FROM ({latest_values}) AS is_current,
    row_number() OVER (PARTITION BY {incoming_key} ORDER BY incoming.line) > 1 AS is_duplicate
FROM ({source}) AS incoming
LEFT JOIN {table} AS latest ON {same_key_latest} AND latest.superseded_at IS NULL;

-- name: assigned_duplicates
SELECT line FROM assigned WHERE is_duplicate ORDER BY line;

-- name: split_closed_enrollments
-- A new enrolment that has already ended was known as open until the day of its end.
INSERT INTO assigned (
    line, student_key, school_key, entry_date, grade_level, recorded_at, is_new, is_current, is_duplicate
)
SELECT -line, student_key, school_key, entry_date, grade_level, recorded_at, is_new, is_current, is_duplicate
FROM assigned
WHERE is_new AND NOT is_duplicate AND exit_date IS NOT NULL
    AND least(exit_date::timestamp AT TIME ZONE %(zone)s, %(now)s) > recorded_at;

-- name: move_closed_enrollments
UPDATE assigned SET recorded_at = least(exit_date::timestamp AT TIME ZONE %(zone)s, %(now)s)
WHERE is_new AND NOT is_duplicate AND exit_date IS NOT NULL AND line > 0
    AND least(exit_date::timestamp AT TIME ZONE %(zone)s, %(now)s) > recorded_at;

-- name: drop_assigned
DROP TABLE assigned;

-- name: queue_changes
INSERT INTO feature_refresh_queue AS queued (student_key, from_week)
SELECT student_key, date_trunc('week', min(first_moment) AT TIME ZONE %(zone)s)::date
FROM changes GROUP BY student_key
ORDER BY student_key
ON CONFLICT (student_key) DO UPDATE
SET from_week = least(queued.from_week, excluded.from_week), revision = excluded.revision;

-- name: touched_students
SELECT student_id FROM students WHERE student_key IN (SELECT student_key FROM changes) ORDER BY student_key;

-- name: begin_import
-- Inside the lock, so that numbers rise in the order in which imports become visible; rows take theirs from the setting.
WITH begun AS (
    INSERT INTO imports (source, started_at, finished_at, summary)
    VALUES (%(source)s, %(started_at)s, %(started_at)s, '{}'::jsonb)
    RETURNING import_id
)
SELECT import_id, set_config('edupulse.import', import_id::text, true) FROM begun;

-- name: finish_import
UPDATE imports SET finished_at = %(finished_at)s, summary = %(summary)s WHERE import_id = %(import_id)s;

-- name: ensure_months
-- Creates the partitions of these months.
SELECT ensure_partitions(%(table)s, month, month) FROM unnest(%(months)s::date[]) AS month ORDER BY month;

-- name: begin_month
SELECT begin_month(%(table)s, %(month)s);

-- name: find_repeated
-- Keys that may stand on several lines of the file.
CREATE TEMP TABLE repeated ON COMMIT DROP AS SELECT DISTINCT {key} FROM stage WHERE is_repeated;

-- name: take_back
-- All rows of a key are compared together: those of these keys leave the month for the stage. They stood on earlier
-- lines than the staged ones, whose lines are 2 or more.
WITH taken AS (
    DELETE FROM {month} AS stored USING repeated WHERE {same_key_repeated} AND {key_in_month} RETURNING {stored_columns}, stored.recorded_at
)
INSERT INTO stage (line, {columns}, recorded_at) SELECT 1, {columns}, recorded_at FROM taken;

-- name: drop_repeated
DROP TABLE repeated;

-- name: index_month
SELECT index_month(%(table)s, %(month)s);

-- name: attach_month
SELECT attach_month(%(table)s, %(month)s);

-- name: sample_less
-- 3,000 rows per month say enough about keys and dates, and are read in a tenth of the time that 30,000 take.
SET default_statistics_target = 10;

-- name: refresh_statistics
SELECT refresh_statistics(%(table)s);
