-- The tables of records as they stood after an earlier import, to be read from in their place. `last_import` is the last
-- import that counts; rows without an import were there before imports were noted.

-- name: versions
-- A version ends where the next one that counts begins, whatever came in between since.
(
    SELECT {columns}, recorded_at,
        lead(recorded_at) OVER (PARTITION BY {key} ORDER BY recorded_at) AS superseded_at
    FROM {table}
    WHERE student_key = ANY(%(keys)s::bigint[]) AND (import_id IS NULL OR import_id <= %(last_import)s)
) AS {table}

-- name: uncorrected_versions
-- Without what became known after `since` about earlier times: versions that change a value which was known by then, and
-- first versions that would usually have been known by then. A value that fills a gap is no correction.
(
    WITH counted AS (
        SELECT {columns}, recorded_at
        FROM {table}
        WHERE student_key = ANY(%(keys)s::bigint[]) AND (import_id IS NULL OR import_id <= %(last_import)s)
    ), latest AS (
        SELECT DISTINCT ON ({key}) * FROM counted WHERE recorded_at <= %(since)s ORDER BY {key}, recorded_at DESC
    ), kept AS (
        SELECT counted.*
        FROM counted LEFT JOIN latest ON {same_key}
        WHERE counted.recorded_at <= %(since)s
            OR CASE
                WHEN latest.student_key IS NULL THEN {usual_moment} > %(since)s
                ELSE {only_fills}
            END
    )
    SELECT *, lead(recorded_at) OVER (PARTITION BY {key} ORDER BY recorded_at) AS superseded_at FROM kept
) AS {table}

-- name: schools
(
    SELECT school.school_key, school.school_id, coalesce(replaced.records_tardies, school.records_tardies) AS records_tardies
    FROM schools AS school
    LEFT JOIN replaced_schools AS replaced
        ON replaced.school_key = school.school_key
        AND coalesce(replaced.since_import <= %(last_import)s, true) AND replaced.until_import > %(last_import)s
) AS schools

-- name: calendar
(
    SELECT school_key, date, is_instructional, term_id, school_year, discipline_reported
    FROM calendar WHERE import_id IS NULL OR import_id <= %(last_import)s
    UNION ALL
    SELECT school_key, date, is_instructional, term_id, school_year, discipline_reported
    FROM replaced_calendar
    WHERE coalesce(since_import <= %(last_import)s, true) AND until_import > %(last_import)s
) AS calendar

-- name: students
(
    SELECT student.student_key,
        CASE WHEN replaced.replaced_id IS NULL THEN student.birth_date ELSE replaced.birth_date END AS birth_date
    FROM students AS student
    LEFT JOIN replaced_birth_dates AS replaced
        ON replaced.student_key = student.student_key
        AND coalesce(replaced.since_import <= %(last_import)s, true) AND replaced.until_import > %(last_import)s
) AS students

-- name: last_import
-- The last import that was stored by a moment; 0 before the first.
SELECT coalesce(max(import_id), 0) FROM imports WHERE finished_at <= %(moment)s;

-- name: imports_near
-- Imports that ended close to a moment, so that it is not certain whether a reader of that moment saw them.
SELECT import_id FROM imports
WHERE finished_at BETWEEN %(moment)s - make_interval(secs => %(within_s)s) AND %(moment)s + make_interval(secs => %(within_s)s)
ORDER BY import_id DESC;
