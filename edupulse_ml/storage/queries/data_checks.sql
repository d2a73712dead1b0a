-- Counts of records by school and week, for the check of the data before training. No row speaks of a student.
-- Weeks are the Monday's date. `as_of` hides what was recorded, or superseded, later. Columns named `missing_x`
-- and `impossible_x` are counts of rows; `due_x` counts the rows that should have x, where those are not all.

-- name: school_days
SELECT school_id, coalesce(array_agg(date ORDER BY date) FILTER (WHERE is_instructional), '{}')
FROM schools LEFT JOIN calendar USING (school_key)
GROUP BY school_key ORDER BY school_key;

-- name: roll
-- Who was on the roll of which school, from the entry to the day before `until`. Of enrolments of one student that
-- overlap, the earlier one ends at the later one's entry, so that no day counts twice.
SELECT
    student_key, school_key, entry_date,
    least(
        coalesce(exit_date, 'infinity'),
        lead(entry_date) OVER (PARTITION BY student_key ORDER BY entry_date, school_key)
    ) AS until
FROM enrollments
WHERE recorded_at <= %(as_of)s AND (superseded_at IS NULL OR superseded_at > %(as_of)s)

-- name: school_weeks
-- Per school and week with school: the school year, school days, student-days on them, and how many of those days are
-- declared to be without reports of incidents.
WITH roll AS ({roll}), changes AS (
    SELECT school_key, day, sum(change) AS change
    FROM (
        SELECT school_key, entry_date AS day, 1 AS change FROM roll
        UNION ALL SELECT school_key, until, -1 FROM roll WHERE until < 'infinity'
    ) AS step
    GROUP BY school_key, day
), days AS (
    SELECT
        school_key, day, calendar.is_instructional, calendar.discipline_reported, calendar.school_year,
        sum(coalesce(changes.change, 0)) OVER (PARTITION BY school_key ORDER BY day) AS enrolled
    FROM (SELECT school_key, date AS day, is_instructional, discipline_reported, school_year FROM calendar) AS calendar
    FULL JOIN changes USING (school_key, day)
)
SELECT
    school.school_id, date_trunc('week', day)::date AS week, max(days.school_year)::integer AS school_year,
    count(*)::integer AS school_days, sum(enrolled)::integer AS student_days,
    (count(*) FILTER (WHERE NOT discipline_reported))::integer AS undeclared_days
FROM days JOIN schools AS school USING (school_key)
WHERE is_instructional AND day <= %(as_of_day)s
GROUP BY school.school_id, 2
ORDER BY school.school_id, 2;

-- name: attendance_records
WITH roll AS ({roll})
SELECT
    school.school_id, date_trunc('week', record.date)::date AS week, count(*) AS n_rows,
    max(record.recorded_at) AS latest,
    count(*) FILTER (WHERE record.recorded_at >= ((record.date + %(late_days)s::integer + 1)::timestamp AT TIME ZONE %(zone)s))
        AS late,
    count(*) FILTER (WHERE record.periods_scheduled IS NULL) AS missing_periods_scheduled,
    count(*) FILTER (WHERE roll.student_key IS NULL) AS impossible_outside_enrolment,
    count(*) FILTER (WHERE record.recorded_at < ((record.date - 1)::timestamp AT TIME ZONE %(zone)s))
        AS impossible_recorded_before_it_happened
FROM attendance_records AS record
LEFT JOIN roll
    ON roll.student_key = record.student_key AND record.date >= roll.entry_date AND record.date < roll.until
LEFT JOIN schools AS school USING (school_key)
WHERE record.recorded_at <= %(as_of)s AND (record.superseded_at IS NULL OR record.superseded_at > %(as_of)s)
GROUP BY 1, 2;

-- name: grades
-- A week is that of the due date. Late: the score was posted long after the work was due and handed in. Missing: work
-- was handed in, but has no score although it was due long ago.
WITH roll AS ({roll})
SELECT
    school.school_id, date_trunc('week', record.due_date)::date AS week, count(*) AS n_rows,
    max(greatest(record.recorded_at, CASE WHEN record.posted_at <= %(as_of)s THEN record.posted_at END)) AS latest,
    count(*) FILTER (
        WHERE record.posted_at >= greatest(
            ((record.due_date + 1)::timestamp AT TIME ZONE %(zone)s), record.submitted_at
        ) + %(late_days)s::integer * interval '1 day'
    ) AS late,
    count(*) FILTER (
        WHERE record.submitted_at IS NOT NULL AND record.score_pct IS NULL
            AND record.due_date + %(unmarked_days)s::integer < %(as_of_day)s::date
    ) AS missing_score_pct,
    count(*) FILTER (
        WHERE record.submitted_at IS NOT NULL AND record.due_date + %(unmarked_days)s::integer < %(as_of_day)s::date
    ) AS due_score_pct,
    count(*) FILTER (WHERE roll.student_key IS NULL) AS impossible_outside_enrolment,
    count(*) FILTER (WHERE record.score_pct IS NOT NULL AND record.posted_at < record.submitted_at)
        AS impossible_posted_before_handed_in,
    count(*) FILTER (
        WHERE record.score_pct IS NOT NULL AND record.submitted_at IS NULL
            AND record.posted_at < (record.due_date::timestamp AT TIME ZONE %(zone)s)
    ) AS impossible_scored_before_due
FROM grades AS record
LEFT JOIN roll
    ON roll.student_key = record.student_key AND record.due_date >= roll.entry_date AND record.due_date < roll.until
LEFT JOIN schools AS school USING (school_key)
WHERE record.recorded_at <= %(as_of)s AND (record.superseded_at IS NULL OR record.superseded_at > %(as_of)s)
    AND record.due_date <= %(as_of_day)s::date
GROUP BY 1, 2;

-- name: discipline_incidents
WITH roll AS ({roll})
SELECT
    school.school_id, date_trunc('week', record.incident_date)::date AS week, count(*) AS n_rows,
    max(record.recorded_at) AS latest,
    count(*) FILTER (
        WHERE record.recorded_at >= ((record.incident_date + %(late_days)s::integer + 1)::timestamp AT TIME ZONE %(zone)s)
    ) AS late,
    count(*) FILTER (WHERE roll.student_key IS NULL) AS impossible_outside_enrolment,
    count(*) FILTER (WHERE record.action_start < record.incident_date) AS impossible_action_before_incident,
    count(*) FILTER (WHERE record.recorded_at < ((record.incident_date - 1)::timestamp AT TIME ZONE %(zone)s))
        AS impossible_recorded_before_it_happened,
    count(*) FILTER (WHERE record.action IN ('ISS', 'OSS') AND record.action_days > %(most_suspension_days)s)
        AS impossible_suspended_too_long
FROM discipline_incidents AS record
LEFT JOIN roll
    ON roll.student_key = record.student_key
    AND record.incident_date >= roll.entry_date AND record.incident_date < roll.until
LEFT JOIN schools AS school USING (school_key)
WHERE record.recorded_at <= %(as_of)s AND (record.superseded_at IS NULL OR record.superseded_at > %(as_of)s)
GROUP BY 1, 2;

-- name: transcript
-- A week is that of the posting; a transcript names no school.
SELECT
    NULL::text AS school_id, date_trunc('week', (record.posted_at AT TIME ZONE %(zone)s)::date)::date AS week,
    count(*) AS n_rows, max(record.recorded_at) AS latest,
    count(*) FILTER (WHERE record.recorded_at >= record.posted_at + %(late_days)s::integer * interval '1 day') AS late,
    count(*) FILTER (WHERE record.credits_earned > record.credits_attempted) AS impossible_earned_more_than_attempted
FROM transcript AS record
WHERE record.recorded_at <= %(as_of)s AND (record.superseded_at IS NULL OR record.superseded_at > %(as_of)s)
GROUP BY 1, 2;

-- name: enrollments
-- A week is that of the entry. Overlap: the student is also on the roll of another school for more than a day.
WITH known AS (
    SELECT
        student_key, school_key, entry_date, exit_date, exit_code, last_attended_date, recorded_at,
        max(coalesce(exit_date, 'infinity'::date)) OVER earlier AS busy_until,
        max(recorded_at) OVER (PARTITION BY school_key) AS latest_of_school
    FROM enrollments
    WHERE recorded_at <= %(as_of)s AND (superseded_at IS NULL OR superseded_at > %(as_of)s)
    WINDOW earlier AS (
        PARTITION BY student_key ORDER BY entry_date, coalesce(exit_date, 'infinity'::date), school_key
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT
    school.school_id, date_trunc('week', known.entry_date)::date AS week, count(*) AS n_rows,
    max(known.latest_of_school) AS latest,
    count(*) FILTER (WHERE exit_date IS NOT NULL AND exit_code IS NULL) AS missing_exit_code,
    count(*) FILTER (WHERE exit_date IS NOT NULL) AS due_exit_code,
    count(*) FILTER (WHERE exit_date < entry_date) AS impossible_exit_before_entry,
    count(*) FILTER (WHERE last_attended_date > exit_date OR last_attended_date < entry_date)
        AS impossible_attended_outside_enrolment,
    count(*) FILTER (
        WHERE busy_until > entry_date + 1 AND coalesce(exit_date, 'infinity'::date) > entry_date + 1
    ) AS impossible_enrolled_twice_at_once
FROM known JOIN schools AS school USING (school_key)
GROUP BY 1, 2;

-- name: exits
-- Per school, school year and code: exits known; those after which the student was on no roll of the district by the
-- next 1 October; and the median and ninetieth-percentile days from the last day attended (the day before the exit
-- where it is not given) until the exit was first known, not below 0.
WITH first_known AS (
    SELECT student_key, school_key, entry_date, min(recorded_at) AS known_at
    FROM enrollments WHERE exit_date IS NOT NULL AND recorded_at <= %(as_of)s
    GROUP BY student_key, school_key, entry_date
), known AS (
    SELECT
        student_key, school_key, entry_date, exit_date, last_attended_date, coalesce(exit_code, 'unknown') AS exit_code,
        extract(year FROM exit_date - interval '7 months')::integer AS school_year
    FROM enrollments
    WHERE recorded_at <= %(as_of)s AND (superseded_at IS NULL OR superseded_at > %(as_of)s)
), exits AS (
    SELECT
        known.*, greatest(
            0, (first_known.known_at AT TIME ZONE %(zone)s)::date - coalesce(last_attended_date, exit_date - 1)
        ) AS delay_days,
        EXISTS (
            SELECT FROM known AS other
            WHERE other.student_key = known.student_key AND other.entry_date > known.entry_date
                AND other.entry_date <= make_date(known.school_year + 1, 10, 1)
        ) AS returned
    FROM known JOIN first_known USING (student_key, school_key, entry_date)
    WHERE known.exit_date IS NOT NULL AND known.exit_date <= %(as_of_day)s::date
)
SELECT
    school.school_id, exits.school_year, exits.exit_code, count(*) AS exits,
    count(*) FILTER (WHERE NOT returned) AS gone,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY delay_days) AS median_delay_days,
    percentile_disc(0.9) WITHIN GROUP (ORDER BY delay_days) AS p90_delay_days
FROM exits JOIN schools AS school USING (school_key)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: overlapping_versions
-- Versions of one record of `{table}` that are valid at the same moment, by the week of `{day}`. Few records have more
-- than one version; those are looked at.
WITH several AS (
    SELECT {key} FROM {table} WHERE recorded_at <= %(as_of)s GROUP BY {key} HAVING count(*) > 1
), versions AS (
    SELECT
        {day} AS day,
        coalesce(record.superseded_at, 'infinity') > lead(record.recorded_at) OVER chain AS is_overlapped
    FROM {table} AS record JOIN several USING ({key})
    WHERE record.recorded_at <= %(as_of)s
    WINDOW chain AS (PARTITION BY {key} ORDER BY record.recorded_at)
)
SELECT date_trunc('week', day)::date AS week, count(*) FROM versions WHERE is_overlapped GROUP BY 1 ORDER BY 1;

-- name: missing_features
-- Per school and week: student-weeks, and how many lack each feature, in the order of the contract.
SELECT
    school.school_id, stored.week, max(stored.school_year)::integer AS school_year, count(*)::integer AS student_weeks,
    ARRAY[{counts}]::integer[] AS missing
FROM student_features AS stored JOIN schools AS school USING (school_key)
WHERE stored.contract_fingerprint = %(contract_fingerprint)s AND stored.week <= %(through_week)s::date
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: one_missing_feature
count(*) FILTER (WHERE stored.feature_values[{position}] = 'NaN')

-- name: not_materialised
-- Students whose stored weeks are not current, and all students.
SELECT
    count(*) FILTER (
        WHERE queued.student_key IS NOT NULL OR coalesce(state.through_week < %(through_week)s::date, true)
    ),
    count(*)
FROM students AS student
LEFT JOIN feature_states AS state
    ON state.student_key = student.student_key AND state.contract_fingerprint = %(contract_fingerprint)s
LEFT JOIN feature_refresh_queue AS queued
    ON queued.student_key = student.student_key AND queued.from_week <= %(through_week)s::date;
