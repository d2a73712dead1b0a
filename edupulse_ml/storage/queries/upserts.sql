-- Tables that keep the latest row only: schools, calendar, students. Each returns (inserted, updated).

-- name: duplicate_lines
SELECT line FROM (
    SELECT line, row_number() OVER (PARTITION BY {key} ORDER BY line) AS nth FROM stage
) AS numbered
WHERE nth > 1 ORDER BY line;

-- name: schools
WITH written AS (
    INSERT INTO schools AS stored (school_id, name, records_tardies)
    SELECT school_id, name, records_tardies FROM (SELECT DISTINCT ON (school_id) * FROM stage ORDER BY school_id, line) AS first
    ORDER BY line
    ON CONFLICT (district_id, school_id) DO UPDATE
    SET name = excluded.name, records_tardies = excluded.records_tardies
    WHERE (stored.name, stored.records_tardies) IS DISTINCT FROM (excluded.name, excluded.records_tardies)
    RETURNING school_key, xmax = 0 AS is_new
), noted AS (
    INSERT INTO changes
    SELECT enrollment.student_key, enrollment.recorded_at
    FROM enrollments AS enrollment JOIN written USING (school_key)
    WHERE NOT written.is_new
)
SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written;

-- name: calendar
-- A changed day changes the features of the school's students from its week on.
WITH written AS (
    INSERT INTO calendar AS stored (school_key, date, is_instructional, term_id, school_year, discipline_reported)
    SELECT school.school_key, first.date, first.is_instructional, first.term_id, first.school_year,
        first.discipline_reported
    FROM (SELECT DISTINCT ON (school_id, date) * FROM stage ORDER BY school_id, date, line) AS first
    JOIN schools AS school USING (school_id)
    ON CONFLICT (school_key, date) DO UPDATE
    SET is_instructional = excluded.is_instructional, term_id = excluded.term_id,
        school_year = excluded.school_year, discipline_reported = excluded.discipline_reported
    WHERE (stored.is_instructional, stored.term_id, stored.school_year, stored.discipline_reported)
        IS DISTINCT FROM
        (excluded.is_instructional, excluded.term_id, excluded.school_year, excluded.discipline_reported)
    RETURNING school_key, date, xmax = 0 AS is_new
), days AS (
    SELECT school_key, min(date) AS first_day FROM written GROUP BY school_key
), noted AS (
    INSERT INTO changes
    SELECT DISTINCT enrollment.student_key, days.first_day::timestamp AT TIME ZONE %(zone)s
    FROM enrollments AS enrollment JOIN days USING (school_key)
)
SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written;

-- name: students
-- A changed birth date changes the context of every week since the student's first enrolment.
WITH first AS MATERIALIZED (
    SELECT DISTINCT ON (student_id) * FROM stage ORDER BY student_id, line
), before AS MATERIALIZED (
    SELECT student.student_key, student.birth_date FROM students AS student JOIN first USING (student_id)
), written AS (
    INSERT INTO students AS stored (student_id, person_id, birth_date)
    SELECT student_id, person_id, birth_date FROM first ORDER BY line
    ON CONFLICT (district_id, student_id) DO UPDATE
    SET person_id = excluded.person_id, birth_date = excluded.birth_date
    WHERE (stored.person_id, stored.birth_date) IS DISTINCT FROM (excluded.person_id, excluded.birth_date)
    RETURNING student_key, student_id, birth_date, xmax = 0 AS is_new
), noted AS (
    INSERT INTO changes
    SELECT written.student_key, enrollment.recorded_at
    FROM written
    JOIN before USING (student_key)
    JOIN enrollments AS enrollment USING (student_key)
    WHERE written.birth_date IS DISTINCT FROM before.birth_date
)
SELECT student_id, is_new FROM written;

-- name: student_attributes
-- Returns the identifiers of students whose audit attributes changed.
WITH first AS MATERIALIZED (
    SELECT DISTINCT ON (student_id) * FROM stage ORDER BY student_id, line
), given AS MATERIALIZED (
    SELECT student.student_key, student.student_id, named.attribute, named.value
    FROM first
    JOIN students AS student USING (student_id)
    CROSS JOIN LATERAL (VALUES {pairs}) AS named (attribute, value)
), removed AS (
    DELETE FROM student_audit_attributes AS stored
    USING given
    WHERE stored.student_key = given.student_key AND stored.attribute = given.attribute AND given.value IS NULL
    RETURNING stored.student_key
), written AS (
    INSERT INTO student_audit_attributes AS stored (student_key, attribute, value)
    SELECT student_key, attribute, value FROM given WHERE value IS NOT NULL
    ON CONFLICT (student_key, attribute) DO UPDATE SET value = excluded.value
    WHERE stored.value IS DISTINCT FROM excluded.value
    RETURNING student_key
)
SELECT DISTINCT given.student_id
FROM given JOIN (SELECT student_key FROM removed UNION SELECT student_key FROM written) AS touched USING (student_key);
