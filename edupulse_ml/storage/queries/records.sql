-- Dated records of some students, one row of arrays per table. `:as_of` hides what was recorded, or superseded, later.
-- Days are day numbers, 2147483647 (`NEVER`) where there is none; moments come as they are, 'infinity' for none;
-- texts that only need to be told apart come as 64-bit hashes. `{table}` is the table, or what it held after an earlier
-- import (past_records.sql).

-- name: find_students
SELECT student_id, student_key FROM students WHERE student_id = ANY(%(student_ids)s);

-- name: students
SELECT
    array_agg(student_key) AS student,
    array_agg(coalesce(birth_date - date '1970-01-01', 2147483647)) AS birth_day
FROM {students} WHERE student_key = ANY(%(keys)s::bigint[]);

-- name: attendance
SELECT
    array_agg(student_key) AS student,
    array_agg(date - date '1970-01-01') AS day,
    array_agg((array_position(%(statuses)s::text[], status) - 1)::smallint) AS status,
    array_agg(coalesce(fraction_absent, 'NaN')) AS fraction_absent,
    array_agg(coalesce(periods_absent, 'NaN')) AS periods_absent,
    array_agg(coalesce(periods_scheduled, 'NaN')) AS periods_scheduled,
    array_agg(recorded_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM {attendance_records}
WHERE student_key = ANY(%(keys)s::bigint[]) AND recorded_at <= %(as_of)s;

-- name: grades
SELECT
    array_agg(student_key) AS student,
    array_agg(hashtextextended(course_id, 0)) AS course,
    array_agg((array_position(%(subjects)s::text[], subject) - 1)::smallint) AS subject,
    array_agg(is_core) AS is_core,
    array_agg(hashtextextended(term_id, 0)) AS term,
    array_agg(due_date - date '1970-01-01') AS due_day,
    array_agg(coalesce(submitted_at, 'infinity')) AS submitted_day,
    array_agg(coalesce(posted_at, 'infinity')) AS posted_day,
    array_agg(coalesce(score_pct, 'NaN')) AS score_pct,
    array_agg(points_weight) AS points_weight,
    array_agg(recorded_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM {grades}
WHERE student_key = ANY(%(keys)s::bigint[]) AND recorded_at <= %(as_of)s;

-- name: transcript
SELECT
    array_agg(student_key) AS student,
    array_agg(hashtextextended(term_id, 0)) AS term,
    array_agg(hashtextextended(course_id, 0)) AS course,
    array_agg(is_core) AS is_core,
    array_agg(credits_attempted) AS credits_attempted,
    array_agg(credits_earned) AS credits_earned,
    array_agg(coalesce(final_pct, 'NaN')) AS final_pct,
    array_agg(posted_at) AS posted_day,
    array_agg(recorded_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM {transcript}
WHERE student_key = ANY(%(keys)s::bigint[]) AND recorded_at <= %(as_of)s;

-- name: discipline
SELECT
    array_agg(student_key) AS student,
    array_agg(incident_date - date '1970-01-01') AS day,
    array_agg(is_objective) AS is_objective,
    array_agg(severity) AS severity,
    array_agg(is_major) AS is_major,
    array_agg((array_position(%(actions)s::text[], action) - 1)::smallint) AS action,
    array_agg(coalesce(action_start - date '1970-01-01', 2147483647)) AS action_start_day,
    array_agg(coalesce(action_days, 'NaN')) AS action_days,
    array_agg(recorded_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM {discipline_incidents}
WHERE student_key = ANY(%(keys)s::bigint[]) AND recorded_at <= %(as_of)s;

-- name: enrollments
SELECT
    array_agg(student_key) AS student,
    array_agg(school_key) AS school,
    array_agg(grade_level) AS grade_level,
    array_agg(entry_date - date '1970-01-01') AS entry_day,
    array_agg(coalesce(exit_date - date '1970-01-01', 2147483647)) AS exit_day,
    array_agg(recorded_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM {enrollments}
WHERE student_key = ANY(%(keys)s::bigint[]) AND recorded_at <= %(as_of)s;

-- name: exits
-- For labels only: exit codes are never inputs.
SELECT
    array_agg(student_key) AS student,
    array_agg(entry_date - date '1970-01-01') AS entry_day,
    array_agg(coalesce(exit_date - date '1970-01-01', 2147483647)) AS exit_day,
    array_agg((coalesce(array_position(%(exit_codes)s::text[], exit_code), 0) - 1)::smallint) AS exit_code,
    array_agg(coalesce(last_attended_date - date '1970-01-01', 2147483647)) AS last_attended_day,
    array_agg(recorded_at) AS known_day,
    array_agg(CASE WHEN superseded_at <= %(as_of)s THEN superseded_at ELSE 'infinity' END) AS superseded_day
FROM enrollments
WHERE student_key = ANY(%(keys)s::bigint[]) AND recorded_at <= %(as_of)s;

-- name: calendar
-- Calendars of the schools that these students have attended.
SELECT
    array_agg(school_key) AS school,
    array_agg(date - date '1970-01-01') AS day,
    array_agg(is_instructional) AS is_instructional,
    array_agg(hashtextextended(term_id, 0)) AS term,
    array_agg(school_year) AS school_year,
    array_agg(discipline_reported) AS discipline_reported
FROM {calendar}
WHERE school_key IN (SELECT school_key FROM enrollments WHERE student_key = ANY(%(keys)s::bigint[]));

-- name: schools
SELECT school_key, school_id, records_tardies FROM {schools} ORDER BY school_key;

-- name: all_student_keys
SELECT student_key FROM students ORDER BY student_key;

-- name: students_of_school_year
-- Enrolled, as known today, on at least one calendar day of the school year that starts in this calendar year.
SELECT DISTINCT enrollment.student_key
FROM enrollments AS enrollment
JOIN (
    SELECT school_key, min(date) AS first_day, max(date) AS last_day
    FROM calendar WHERE school_year = %(school_year)s GROUP BY school_key
) AS year USING (school_key)
WHERE enrollment.superseded_at IS NULL
    AND enrollment.entry_date <= year.last_day
    AND (enrollment.exit_date IS NULL OR enrollment.exit_date > year.first_day)
ORDER BY enrollment.student_key;

-- name: student_names
SELECT student_key, student_id, person_id FROM students WHERE student_key = ANY(%(keys)s::bigint[]);

-- name: audit_attributes
-- Read by the fairness audit only.
SELECT student_key, value FROM student_audit_attributes
WHERE student_key = ANY(%(keys)s::bigint[]) AND attribute = %(attribute)s;
