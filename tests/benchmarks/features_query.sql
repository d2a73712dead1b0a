-- Half of the features in one query: the same 21 that `features_pandas.py` computes, exact under late and corrected
-- records. Tables hold whole numbers: days since 1970, codes instead of words, students numbered from 0.
-- A fact counts in a window from one row of the student to another: its amount is added at the first and taken back at
-- the last, and a running sum over the student's rows gives every row at once.
WITH session AS (
    SELECT school, day, week, school_year, reported,
        (day + 3) %% 7 IN (0, 4) OR next_day IS NULL
            OR (SELECT count(*) FROM generate_series(day + 1, next_day - 1) AS free (day) WHERE (free.day + 3) %% 7 < 5) >= 2
            AS special
    FROM (
        SELECT *, day - (day + 3) %% 7 AS week, lead(day) OVER (PARTITION BY school ORDER BY day) AS next_day
        FROM bench_calendar
    ) AS calendar
), enrolled_day AS MATERIALIZED (
    -- The enrolment that each student-day belongs to, as known when its week closed.
    SELECT DISTINCT ON (e.student, c.day)
        e.student, c.day, c.week, c.special, c.reported, e.school, c.school_year
    FROM bench_enrollments AS e
    JOIN session AS c ON c.school = e.school AND c.day >= e.entry_day AND c.day < e.exit_day
        AND c.week >= e.known_week AND c.week < e.superseded_week
    WHERE e.student < %(students)s AND c.week <= %(through_week)s
    ORDER BY e.student, c.day, e.entry_day DESC, e.known_day DESC, e.school DESC, e.grade_level DESC, e.exit_day DESC
), week_of_student AS (
    SELECT student, week, count(*) AS n_days, count(*) FILTER (WHERE special) AS n_special,
        bool_or(reported) AS reported,
        -- School and year of the last day.
        max(day::bigint * 1000000 + school) %% 1000000 AS school,
        max(day::bigint * 1000000 + school_year) %% 1000000 AS year_of_week
    FROM enrolled_day
    GROUP BY student, week
), numbered AS (
    SELECT *,
        row_number() OVER (PARTITION BY student ORDER BY week) AS row,
        max(year_of_week) OVER (PARTITION BY student ORDER BY week) AS year
    FROM week_of_student
), step AS MATERIALIZED (
    -- `key` names a student's row; joins of one column stay fast where the planner knows no statistics.
    SELECT *,
        student::bigint * 1000 + row AS key,
        min(row) OVER (PARTITION BY student, year) AS year_start,
        max(row) OVER (PARTITION BY student, year) + 1 AS year_stop,
        sum(n_special) OVER (PARTITION BY student, year ORDER BY week) AS special_so_far,
        sum(n_days) OVER (PARTITION BY student, year ORDER BY week) AS days_so_far,
        bool_or(reported) OVER (
            PARTITION BY student, year ORDER BY week ROWS BETWEEN 3 PRECEDING AND CURRENT ROW
        ) AS reported_4wk
    FROM numbered
), school_years AS (
    SELECT student, year, min(row) AS start, max(row) + 1 AS stop FROM step GROUP BY student, year
), following_year AS (
    SELECT student, year,
        CASE WHEN lead(year) OVER years = year + 1 THEN lead(start) OVER years ELSE 0 END AS start,
        CASE WHEN lead(year) OVER years = year + 1 THEN lead(stop) OVER years ELSE 0 END AS stop
    FROM school_years
    WINDOW years AS (PARTITION BY student ORDER BY year)
), all_weeks AS (
    SELECT generate_series(min(week), max(week) + 7, 7) AS week FROM session
), bounds AS (
    SELECT min(week) AS first, max(week) AS last FROM all_weeks
), row_at AS (
    -- The student's first row in each week or later; the row after the last stands for never.
    SELECT student, array_agg(row ORDER BY week) AS row_at
    FROM (
        SELECT ends.student, all_weeks.week,
            coalesce(min(step.row) OVER (PARTITION BY ends.student ORDER BY all_weeks.week DESC), end_row)::integer
        FROM (SELECT student, count(*) + 1 AS end_row FROM step GROUP BY student) AS ends
        CROSS JOIN all_weeks
        LEFT JOIN step ON step.student::bigint * 100000 + step.week = ends.student::bigint * 100000 + all_weeks.week
            AND step.student = ends.student
    ) AS every_week (student, week, row)
    GROUP BY student
), student AS MATERIALIZED (
    -- What facts need to know of their student, as arrays: by calendar week and by row.
    SELECT step.student, row_at.row_at, min(step.week) AS first_week, count(*) + 1 AS end_row,
        array_agg(step.year_stop::integer ORDER BY row) AS year_stop,
        array_agg(step.n_days::integer ORDER BY row) AS n_days,
        array_agg(following_year.start::integer ORDER BY row) AS next_start,
        array_agg(following_year.stop::integer ORDER BY row) AS next_stop
    FROM step
    JOIN row_at ON row_at.student = step.student
    JOIN following_year
        ON following_year.student::bigint * 10000 + following_year.year = step.student::bigint * 10000 + step.year
    GROUP BY step.student, row_at.row_at
), attendance_fact AS MATERIALIZED (
    SELECT student, row, start, stop, year_stop, next_start, next_stop, n_days,
        sum(absence) AS absent, sum(absence) FILTER (WHERE is_unexcused) AS unexcused,
        sum(absence) FILTER (WHERE special) AS special,
        (count(*) FILTER (WHERE is_tardy))::integer AS tardy, (count(*) FILTER (WHERE NOT is_absent))::integer AS present,
        sum(periods_absent) AS periods_absent, sum(periods_scheduled) AS periods
    FROM (
        SELECT a.student, a.absence, a.is_absent, a.is_unexcused, a.is_tardy, a.periods_absent, a.periods_scheduled,
            d.special, own.row, greatest(own.row, own.known) AS start, own.stop,
            s.year_stop[own.row] AS year_stop, s.next_start[own.row] AS next_start, s.next_stop[own.row] AS next_stop,
            s.n_days[own.row] AS n_days
        FROM bench_attendance AS a
        CROSS JOIN bounds AS b
        JOIN student AS s USING (student)
        JOIN enrolled_day AS d ON d.student::bigint * 100000 + d.day = a.student::bigint * 100000 + a.day
        CROSS JOIN LATERAL (
            SELECT s.row_at[(d.week - b.first) / 7 + 1] AS row,
                s.row_at[(least(greatest(a.known_week, b.first), b.last) - b.first) / 7 + 1] AS known,
                s.row_at[(least(greatest(a.superseded_week, b.first), b.last) - b.first) / 7 + 1] AS stop
        ) AS own
        WHERE a.student < %(students)s AND greatest(own.row, own.known) < own.stop
    ) AS recorded
    GROUP BY student, row, start, stop, year_stop, next_start, next_stop, n_days
), taken_fact AS (
    SELECT student, row, year_stop, next_start, next_stop, n_days, min(start) AS start
    FROM attendance_fact
    GROUP BY student, row, year_stop, next_start, next_stop, n_days
), attendance_change AS (
    SELECT fact.student::bigint * 1000 + edge.row AS key,
        sum(edge.sign * absent) FILTER (WHERE span = 'week') AS absent_wk,
        sum(edge.sign * absent) FILTER (WHERE span = '4wk') AS absent_4wk,
        sum(edge.sign * unexcused) FILTER (WHERE span = '4wk') AS unexcused_4wk,
        sum(edge.sign * tardy) FILTER (WHERE span = '4wk') AS tardy_4wk,
        sum(edge.sign * present) FILTER (WHERE span = '4wk') AS present_4wk,
        sum(edge.sign * periods_absent) FILTER (WHERE span = '4wk') AS periods_absent_4wk,
        sum(edge.sign * periods) FILTER (WHERE span = '4wk') AS periods_4wk,
        sum(edge.sign * absent) FILTER (WHERE span = 'before') AS absent_before,
        sum(edge.sign * absent) FILTER (WHERE span = 'year') AS absent_ytd,
        sum(edge.sign * unexcused) FILTER (WHERE span = 'year') AS unexcused_ytd,
        sum(edge.sign * special) FILTER (WHERE span = 'year') AS special_ytd,
        sum(edge.sign * absent) FILTER (WHERE span = 'prior') AS absent_prior
    FROM attendance_fact AS fact
    CROSS JOIN LATERAL (
        VALUES ('week', fact.start, least(fact.row + 1, fact.stop, fact.year_stop)),
            ('4wk', fact.start, least(fact.row + 4, fact.stop, fact.year_stop)),
            ('before', greatest(fact.start, fact.row + 4), least(fact.row + 12, fact.stop, fact.year_stop)),
            ('year', fact.start, least(fact.stop, fact.year_stop)),
            ('prior', greatest(fact.start, fact.next_start), least(fact.stop, fact.next_stop))
    ) AS counted (span, start, stop)
    CROSS JOIN LATERAL (VALUES (counted.start, 1), (counted.stop, -1)) AS edge (row, sign)
    WHERE counted.start < counted.stop
    GROUP BY key
), taken_change AS (
    SELECT fact.student::bigint * 1000 + edge.row AS key,
        sum(edge.sign * n_days) FILTER (WHERE span = 'week') AS days_wk,
        sum(edge.sign * n_days) FILTER (WHERE span = '4wk') AS days_4wk,
        sum(edge.sign * n_days) FILTER (WHERE span = 'before') AS days_before,
        sum(edge.sign * n_days) FILTER (WHERE span = 'year') AS days_ytd,
        sum(edge.sign * n_days) FILTER (WHERE span = 'prior') AS days_prior
    FROM taken_fact AS fact
    CROSS JOIN LATERAL (
        VALUES ('week', fact.start, least(fact.row + 1, fact.year_stop)),
            ('4wk', fact.start, least(fact.row + 4, fact.year_stop)),
            ('before', greatest(fact.start, fact.row + 4), least(fact.row + 12, fact.year_stop)),
            ('year', fact.start, fact.year_stop),
            ('prior', greatest(fact.start, fact.next_start), fact.next_stop)
    ) AS counted (span, start, stop)
    CROSS JOIN LATERAL (VALUES (counted.start, 1), (counted.stop, -1)) AS edge (row, sign)
    WHERE counted.start < counted.stop
    GROUP BY key
), item AS MATERIALIZED (
    SELECT g.student, g.score, g.is_late, at.*, s.year_stop[at.due_row] AS due_year_stop,
        s.year_stop[at.posted_row] AS posted_year_stop,
        least(at.submitted, CASE WHEN g.score > 0 THEN at.posted_row END) AS handed_in,
        g.due_day >= s.first_week AS due_counts, g.posted_day >= s.first_week AS post_counts
    FROM bench_grades AS g
    JOIN student AS s USING (student)
    CROSS JOIN bounds AS b
    CROSS JOIN LATERAL (
        SELECT s.row_at[(least(greatest(g.due_week, b.first), b.last) - b.first) / 7 + 1] AS due_row,
            s.row_at[(least(greatest(g.posted_week, b.first), b.last) - b.first) / 7 + 1] AS posted_row,
            s.row_at[(least(greatest(g.submitted_week, b.first), b.last) - b.first) / 7 + 1] AS submitted,
            s.row_at[(least(greatest(g.known_week, b.first), b.last) - b.first) / 7 + 1] AS known,
            s.row_at[(least(greatest(g.superseded_week, b.first), b.last) - b.first) / 7 + 1] AS stop
    ) AS at
    WHERE g.student < %(students)s
), item_change AS (
    SELECT item.student::bigint * 1000 + edge.row AS key,
        sum(edge.sign) FILTER (WHERE span = 'due') AS due,
        sum(edge.sign) FILTER (WHERE span = 'missing') AS missing,
        sum(edge.sign) FILTER (WHERE span = 'submitted') AS submitted,
        sum(edge.sign) FILTER (WHERE span = 'submitted' AND is_late) AS late,
        sum(edge.sign) FILTER (WHERE span = 'scored') AS scores,
        sum(edge.sign * score) FILTER (WHERE span = 'scored') AS score,
        sum(edge.sign * score * score) FILTER (WHERE span = 'scored') AS square
    FROM item
    CROSS JOIN LATERAL (
        VALUES ('due', greatest(due_row, known), least(due_row + 4, stop, due_year_stop), due_counts),
            ('missing', greatest(due_row, known), least(due_row + 4, stop, due_year_stop, handed_in), due_counts),
            ('submitted', greatest(due_row, known, submitted), least(due_row + 4, stop, due_year_stop), due_counts),
            ('scored', greatest(posted_row, known, CASE WHEN NOT score > 0 THEN submitted END),
                least(posted_row + 8, stop, posted_year_stop), post_counts AND score IS NOT NULL)
    ) AS counted (span, start, stop, counts)
    CROSS JOIN LATERAL (VALUES (counted.start, 1), (counted.stop, -1)) AS edge (row, sign)
    WHERE counted.counts AND counted.start < counted.stop
        AND CASE WHEN span = 'scored' THEN posted_year_stop IS NOT NULL ELSE due_year_stop IS NOT NULL END
    GROUP BY key
), transcript_change AS (
    SELECT t.student::bigint * 1000 + edge.row AS key,
        sum(edge.sign * t.points * t.credit) AS points, sum(edge.sign * t.credit) AS credit
    FROM bench_transcript AS t
    JOIN student AS s USING (student)
    CROSS JOIN bounds AS b
    CROSS JOIN LATERAL (
        SELECT s.row_at[(least(greatest(t.known_week, t.posted_week, b.first), b.last) - b.first) / 7 + 1] AS known,
            s.row_at[(least(greatest(t.superseded_week, b.first), b.last) - b.first) / 7 + 1] AS stop
    ) AS at
    CROSS JOIN LATERAL (VALUES (at.known, 1), (at.stop, -1)) AS edge (row, sign)
    WHERE t.student < %(students)s AND at.known < at.stop
    GROUP BY key
), incident_change AS (
    SELECT i.student::bigint * 1000 + edge.row AS key,
        sum(edge.sign) FILTER (WHERE span = 'week') AS incidents_wk,
        sum(edge.sign) FILTER (WHERE span = '4wk') AS incidents_4wk,
        sum(edge.sign) FILTER (WHERE span = '8wk') AS incidents_8wk,
        sum(edge.sign) FILTER (WHERE span = '8wk' AND i.is_major) AS major_8wk,
        sum(edge.sign) FILTER (WHERE span = 'before') AS incidents_before,
        sum(edge.sign) FILTER (WHERE span = 'year') AS incidents_ytd,
        sum(edge.sign) FILTER (WHERE span = 'year' AND i.is_objective) AS objective_ytd
    FROM bench_discipline AS i
    JOIN student AS s USING (student)
    CROSS JOIN bounds AS b
    CROSS JOIN LATERAL (
        SELECT s.row_at[(least(greatest(i.week, b.first), b.last) - b.first) / 7 + 1] AS row,
            s.row_at[(least(greatest(i.known_week, b.first), b.last) - b.first) / 7 + 1] AS known,
            s.row_at[(least(greatest(i.superseded_week, b.first), b.last) - b.first) / 7 + 1] AS stop
    ) AS own
    CROSS JOIN LATERAL (
        SELECT greatest(own.row, own.known) AS start, least(own.stop, s.year_stop[own.row]) AS stop
    ) AS seen
    CROSS JOIN LATERAL (
        VALUES ('week', seen.start, least(own.row + 1, seen.stop)), ('4wk', seen.start, least(own.row + 4, seen.stop)),
            ('8wk', seen.start, least(own.row + 8, seen.stop)),
            ('before', greatest(seen.start, own.row + 8), least(own.row + 16, seen.stop)),
            ('year', seen.start, seen.stop)
    ) AS counted (span, start, stop)
    CROSS JOIN LATERAL (VALUES (counted.start, 1), (counted.stop, -1)) AS edge (row, sign)
    WHERE i.student < %(students)s AND i.day >= s.first_week AND own.row < s.end_row AND counted.start < counted.stop
    GROUP BY key
), summed AS (
    SELECT step.*, school.records_tardies,
        sum(absent_wk) OVER so_far AS absent_wk, sum(absent_4wk) OVER so_far AS absent_4wk,
        sum(unexcused_4wk) OVER so_far AS unexcused_4wk, sum(tardy_4wk) OVER so_far AS tardy_4wk,
        sum(present_4wk) OVER so_far AS present_4wk, sum(periods_absent_4wk) OVER so_far AS periods_absent_4wk,
        sum(periods_4wk) OVER so_far AS periods_4wk, sum(absent_before) OVER so_far AS absent_before,
        sum(absent_ytd) OVER so_far AS absent_ytd, sum(unexcused_ytd) OVER so_far AS unexcused_ytd,
        sum(special_ytd) OVER so_far AS special_ytd, sum(absent_prior) OVER so_far AS absent_prior,
        sum(days_wk) OVER so_far AS days_wk, sum(days_4wk) OVER so_far AS days_4wk,
        sum(days_before) OVER so_far AS days_before, sum(days_ytd) OVER so_far AS days_ytd,
        sum(days_prior) OVER so_far AS days_prior,
        sum(due) OVER so_far AS due, sum(missing) OVER so_far AS missing, sum(submitted) OVER so_far AS submitted,
        sum(late) OVER so_far AS late, sum(scores) OVER so_far AS scores, sum(score) OVER so_far AS score,
        sum(square) OVER so_far AS square, sum(points) OVER so_far AS points, sum(credit) OVER so_far AS credit,
        coalesce(sum(incidents_wk) OVER so_far, 0) AS incidents_wk,
        coalesce(sum(incidents_4wk) OVER so_far, 0) AS incidents_4wk,
        coalesce(sum(incidents_8wk) OVER so_far, 0) AS incidents_8wk,
        coalesce(sum(major_8wk) OVER so_far, 0) AS major_8wk,
        coalesce(sum(incidents_before) OVER so_far, 0) AS incidents_before,
        coalesce(sum(incidents_ytd) OVER so_far, 0) AS incidents_ytd,
        coalesce(sum(objective_ytd) OVER so_far, 0) AS objective_ytd
    FROM step
    JOIN bench_schools AS school USING (school)
    LEFT JOIN attendance_change USING (key)
    LEFT JOIN taken_change USING (key)
    LEFT JOIN item_change USING (key)
    LEFT JOIN transcript_change USING (key)
    LEFT JOIN incident_change USING (key)
    WINDOW so_far AS (PARTITION BY student ORDER BY row)
)
SELECT student, week,
    CASE WHEN days_wk > 0 THEN absent_wk / n_days END AS absence_rate_wk,
    absent_4wk / nullif(days_4wk, 0) AS absence_rate_4wk,
    absent_ytd / nullif(days_ytd, 0) AS absence_rate_ytd,
    CASE WHEN days_ytd >= 10 THEN
        (absent_ytd >= 0.05 * days_ytd)::int + (absent_ytd >= 0.1 * days_ytd)::int + (absent_ytd >= 0.2 * days_ytd)::int
    END AS chronic_absence_tier,
    CASE WHEN row >= year_start + 5 THEN absent_4wk / nullif(days_4wk, 0) - absent_before / nullif(days_before, 0) END
        AS absence_rate_change,
    coalesce(unexcused_4wk, 0) / nullif(days_4wk, 0) AS unexcused_absence_rate_4wk,
    CASE WHEN days_ytd > 0 THEN (coalesce(unexcused_ytd, 0) + 1) / (absent_ytd + 2) END AS unexcused_share_ytd,
    CASE WHEN records_tardies THEN tardy_4wk / nullif(present_4wk, 0) END AS tardy_rate_4wk,
    CASE WHEN periods_4wk > 0 THEN periods_absent_4wk / periods_4wk END AS partial_day_absence_rate_4wk,
    CASE WHEN days_ytd > 0 THEN
        (coalesce(special_ytd, 0) + 4 * special_so_far / days_so_far) / (absent_ytd + 4)
    END AS mon_fri_prebreak_absence_share_ytd,
    absent_prior / nullif(days_prior, 0) AS absence_rate_prior_year,
    points / nullif(credit, 0) AS gpa_cumulative,
    CASE WHEN due >= 3 THEN coalesce(missing, 0) / due END AS missing_assignment_rate_4wk,
    CASE WHEN submitted >= 3 THEN coalesce(late, 0) / submitted END AS late_submission_rate_4wk,
    CASE WHEN scores >= 4 THEN sqrt(greatest(square / scores - (score / scores) ^ 2, 0)) END AS assignment_score_sd_8wk,
    CASE WHEN (reported_4wk OR incidents_4wk > 0) AND (reported OR incidents_wk > 0) THEN incidents_wk END AS odr_count_wk,
    CASE WHEN reported_4wk OR incidents_4wk > 0 THEN incidents_8wk END AS odr_count_8wk,
    CASE WHEN reported_4wk OR incidents_4wk > 0 THEN incidents_ytd END AS odr_count_ytd,
    CASE WHEN (reported_4wk OR incidents_4wk > 0) AND row >= year_start + 9 THEN (incidents_8wk - incidents_before) / 8 END
        AS odr_rate_change_8wk,
    CASE WHEN reported_4wk OR incidents_4wk > 0 THEN objective_ytd END AS objective_incident_count_ytd,
    CASE WHEN reported_4wk OR incidents_4wk > 0 THEN major_8wk END AS major_incident_count_8wk
FROM summed
ORDER BY student, row
