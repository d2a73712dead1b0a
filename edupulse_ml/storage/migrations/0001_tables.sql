-- Tables, row-level security and monthly partitions.
-- Dated tables become TimescaleDB hypertables where the extension is loaded, native range partitions elsewhere.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
       AND EXISTS (SELECT FROM pg_settings WHERE name LIKE 'timescaledb.%') THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb;
    END IF;
END
$$;

-- Partitions live where the application role has no USAGE: rows are reached through the parents, whose policies apply.
CREATE SCHEMA partitions;
REVOKE ALL ON SCHEMA partitions FROM PUBLIC;

CREATE TABLE dated_tables (
    table_name text PRIMARY KEY,
    column_name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('partitions', 'hypertable'))
);
COMMENT ON TABLE dated_tables IS 'Tables split by month, and the column that says in which month a row lies.';

CREATE FUNCTION create_dated_table(p_table text, p_column text, p_definition text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        EXECUTE format('CREATE TABLE %I (%s)', p_table, p_definition);
        PERFORM create_hypertable(
            p_table::regclass, p_column::name,
            chunk_time_interval => interval '1 month', create_default_indexes => false
        );
        INSERT INTO dated_tables VALUES (p_table, p_column, 'hypertable');
    ELSE
        EXECUTE format('CREATE TABLE %I (%s) PARTITION BY RANGE (%I)', p_table, p_definition, p_column);
        INSERT INTO dated_tables VALUES (p_table, p_column, 'partitions');
    END IF;
END
$$;

-- Creates the missing monthly partitions from the month of p_from to the month of p_to and returns how many.
-- LIKE and ATTACH instead of PARTITION OF: the parent stays readable and writable meanwhile.
CREATE FUNCTION ensure_partitions(p_table text, p_from date, p_to date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_column_type text;
    v_suffix text;
    v_month date;
    v_name text;
    v_created integer := 0;
BEGIN
    SELECT format_type(attribute.atttypid, NULL) INTO v_column_type
    FROM dated_tables AS dated
    JOIN pg_attribute AS attribute
        ON attribute.attrelid = to_regclass(format('public.%I', dated.table_name))
        AND attribute.attname = dated.column_name
    WHERE dated.table_name = p_table AND dated.kind = 'partitions';
    IF v_column_type IS NULL THEN
        IF EXISTS (SELECT FROM dated_tables WHERE table_name = p_table) THEN
            RETURN 0;
        END IF;
        RAISE EXCEPTION 'table % is not split by month', p_table USING ERRCODE = 'undefined_table';
    END IF;
    IF p_from < date '1900-01-01' OR p_to >= date '2200-01-01' THEN
        RAISE EXCEPTION 'partitions are kept for the years 1900 to 2199' USING ERRCODE = 'datetime_field_overflow';
    END IF;
    v_suffix := CASE WHEN v_column_type = 'date' THEN '' ELSE ' 00:00:00+00' END;
    FOR v_month IN
        SELECT month::date
        FROM generate_series(date_trunc('month', p_from::timestamp), p_to::timestamp, interval '1 month') AS month
    LOOP
        v_name := format('%s_%s', p_table, to_char(v_month, '"y"YYYY"m"MM'));
        CONTINUE WHEN to_regclass(format('partitions.%I', v_name)) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtext('edupulse.partitions'));
        -- A query, because name look-ups are cached and may not show what was committed while this waited.
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_class WHERE relname = v_name AND relnamespace = 'partitions'::regnamespace
        );
        EXECUTE format(
            'CREATE TABLE partitions.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
            v_name, p_table
        );
        EXECUTE format('ALTER TABLE partitions.%I ENABLE ROW LEVEL SECURITY', v_name);
        EXECUTE format('ALTER TABLE partitions.%I FORCE ROW LEVEL SECURITY', v_name);
        EXECUTE format(
            'ALTER TABLE public.%I ATTACH PARTITION partitions.%I FOR VALUES FROM (%L) TO (%L)',
            p_table, v_name,
            v_month::text || v_suffix, (v_month + interval '1 month')::date::text || v_suffix
        );
        v_created := v_created + 1;
    END LOOP;
    RETURN v_created;
END
$$;
REVOKE ALL ON FUNCTION ensure_partitions(text, date, date) FROM PUBLIC;

-- Fresh planner statistics after a large import; the application role does not own the table.
CREATE FUNCTION refresh_statistics(p_table text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_policies WHERE schemaname = 'public' AND tablename = p_table AND policyname = 'own_district'
    ) THEN
        RAISE EXCEPTION 'table % holds no district rows', p_table USING ERRCODE = 'undefined_table';
    END IF;
    EXECUTE format('ANALYZE public.%I', p_table);
END
$$;
REVOKE ALL ON FUNCTION refresh_statistics(text) FROM PUBLIC;

CREATE TABLE districts (
    district_id text PRIMARY KEY CHECK (district_id <> ''),
    timezone text NOT NULL
);

CREATE TABLE schools (
    school_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    school_id text NOT NULL,
    name text,
    records_tardies boolean NOT NULL DEFAULT true,
    UNIQUE (district_id, school_id)
);
COMMENT ON COLUMN schools.school_key IS 'Its order within a district is the position of the school in feature blocks.';

CREATE TABLE calendar (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    school_key integer NOT NULL REFERENCES schools,
    date date NOT NULL,
    is_instructional boolean NOT NULL,
    term_id text NOT NULL,
    school_year smallint NOT NULL,
    discipline_reported boolean NOT NULL DEFAULT true,
    PRIMARY KEY (school_key, date)
);

CREATE TABLE students (
    student_key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_id text NOT NULL,
    person_id text,
    birth_date date,
    UNIQUE (district_id, student_id)
);

CREATE TABLE student_audit_attributes (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    attribute text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (student_key, attribute)
);
COMMENT ON TABLE student_audit_attributes IS 'Read by the fairness audit only; never a model input.';

CREATE TABLE enrollments (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    school_key integer NOT NULL REFERENCES schools,
    grade_level smallint NOT NULL,
    entry_date date NOT NULL,
    exit_date date,
    exit_code text,
    last_attended_date date,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    PRIMARY KEY (student_key, school_key, entry_date, recorded_at),
    CHECK (superseded_at > recorded_at)
);
CREATE INDEX enrollments_of_school ON enrollments (school_key, entry_date);

-- Tables split by month have no foreign keys: attaching a partition would lock students against a running import,
-- and every merge joins students anyway.
SELECT create_dated_table('attendance_records', 'date', $$
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    student_key bigint NOT NULL,
    date date NOT NULL,
    status text NOT NULL,
    fraction_absent real,
    periods_absent real,
    periods_scheduled real,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    PRIMARY KEY (student_key, date, recorded_at),
    CHECK (superseded_at > recorded_at)
$$);

SELECT create_dated_table('grades', 'due_date', $$
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    student_key bigint NOT NULL,
    course_id text NOT NULL,
    subject text NOT NULL,
    is_core boolean NOT NULL,
    term_id text NOT NULL,
    assignment_id text NOT NULL,
    category text NOT NULL,
    due_date date NOT NULL,
    submitted_at timestamptz,
    score_pct real,
    points_weight real NOT NULL,
    posted_at timestamptz,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    PRIMARY KEY (student_key, assignment_id, course_id, term_id, recorded_at, due_date),
    CHECK (superseded_at > recorded_at)
$$);

CREATE TABLE transcript (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    term_id text NOT NULL,
    course_id text NOT NULL,
    is_core boolean NOT NULL,
    credits_attempted real NOT NULL,
    credits_earned real NOT NULL,
    final_pct real,
    posted_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    PRIMARY KEY (student_key, term_id, course_id, recorded_at),
    CHECK (superseded_at > recorded_at)
);

SELECT create_dated_table('discipline_incidents', 'incident_date', $$
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    student_key bigint NOT NULL,
    incident_id text NOT NULL,
    incident_date date NOT NULL,
    behavior_code text NOT NULL,
    is_objective boolean NOT NULL,
    severity smallint NOT NULL,
    is_major boolean NOT NULL,
    action text NOT NULL,
    action_start date,
    action_days real,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    PRIMARY KEY (student_key, incident_id, recorded_at, incident_date),
    CHECK (superseded_at > recorded_at)
$$);

SELECT create_dated_table('student_features', 'week', $$
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    student_key bigint NOT NULL,
    contract_fingerprint text NOT NULL,
    week date NOT NULL,
    school_key integer NOT NULL,
    grade_level smallint NOT NULL,
    school_year smallint NOT NULL,
    feature_values real[] NOT NULL,
    support real[] NOT NULL,
    aux real[] NOT NULL,
    context real[] NOT NULL,
    known_mask boolean[] NOT NULL,
    PRIMARY KEY (student_key, contract_fingerprint, week)
$$);

CREATE TABLE feature_states (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    contract_fingerprint text NOT NULL,
    through_week date NOT NULL,
    PRIMARY KEY (student_key, contract_fingerprint)
);
COMMENT ON TABLE feature_states IS 'Week through which the stored features of a student are complete.';

CREATE TABLE feature_refresh_queue (
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint PRIMARY KEY REFERENCES students,
    from_week date NOT NULL,
    revision bigint GENERATED BY DEFAULT AS IDENTITY
);
COMMENT ON COLUMN feature_refresh_queue.revision IS 'Another one, never used before, with every import that touches the student.';

SELECT create_dated_table('predictions', 'created_at', $$
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    prediction_id uuid NOT NULL,
    student_key bigint NOT NULL,
    as_of timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    feature_week date NOT NULL,
    model_version text NOT NULL,
    policy_version text NOT NULL,
    risk_score double precision NOT NULL CHECK (risk_score BETWEEN 0 AND 1),
    risk_60plus double precision NOT NULL CHECK (risk_60plus BETWEEN 0 AND 1),
    category text NOT NULL,
    coverage jsonb NOT NULL,
    reasons jsonb,
    protective_factors jsonb,
    attention_weeks jsonb NOT NULL,
    PRIMARY KEY (prediction_id, created_at)
$$);
CREATE INDEX predictions_of_student ON predictions (student_key, created_at DESC);

SELECT create_dated_table('audit_log', 'at', $$
    audit_id uuid NOT NULL DEFAULT gen_random_uuid(),
    district_id text NOT NULL DEFAULT current_setting('edupulse.district'),
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    request_id text NOT NULL,
    student_key bigint,
    prediction_id uuid,
    PRIMARY KEY (audit_id, at)
$$);
CREATE INDEX audit_log_by_time ON audit_log (district_id, at);
CREATE INDEX audit_log_of_student ON audit_log (student_key, at);

CREATE TABLE training_jobs (
    job_id uuid PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    kind text NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'succeeded', 'failed')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    parameters jsonb NOT NULL,
    model_version text,
    summary jsonb,
    error text,
    CHECK ((status = 'running') = (finished_at IS NULL))
);
CREATE INDEX training_jobs_by_time ON training_jobs (district_id, started_at DESC);

CREATE TABLE training_feedback (
    feedback_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    prediction_id uuid,
    given_at timestamptz NOT NULL,
    given_by text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('agrees', 'too_high', 'too_low', 'already_supported')),
    remark text
);
CREATE INDEX training_feedback_of_student ON training_feedback (student_key, given_at);

CREATE TABLE imports (
    import_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    source text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    summary jsonb NOT NULL
);

-- The sub-select makes the setting a constant of each statement instead of a call per row.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'districts', 'schools', 'calendar', 'students', 'student_audit_attributes', 'enrollments',
        'attendance_records', 'grades', 'transcript', 'discipline_incidents', 'student_features', 'feature_states',
        'feature_refresh_queue', 'predictions', 'audit_log', 'training_jobs', 'training_feedback', 'imports'
    ]
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format(
            'CREATE POLICY own_district ON %I '
            'USING (district_id = (SELECT current_setting(''edupulse.district'', true))) '
            'WITH CHECK (district_id = (SELECT current_setting(''edupulse.district'', true)))',
            v_table
        );
    END LOOP;
END
$$;
