-- Which import brought a version, and what was written over in tables that keep the latest row only: with both, what was
-- known when a prediction was made can be read again, also after an import that claims earlier moments.

ALTER TABLE enrollments ADD COLUMN import_id integer;
ALTER TABLE attendance_records ADD COLUMN import_id integer;
ALTER TABLE grades ADD COLUMN import_id integer;
ALTER TABLE transcript ADD COLUMN import_id integer;
ALTER TABLE discipline_incidents ADD COLUMN import_id integer;
ALTER TABLE schools ADD COLUMN import_id integer;
ALTER TABLE calendar ADD COLUMN import_id integer;
ALTER TABLE students ADD COLUMN import_id integer;

-- Rows that are there already keep no import: they count as known to every prediction.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'enrollments', 'attendance_records', 'grades', 'transcript', 'discipline_incidents', 'schools', 'calendar',
        'students'
    ]
    LOOP
        EXECUTE format(
            'ALTER TABLE %I ALTER COLUMN import_id SET DEFAULT nullif(current_setting(''edupulse.import'', true), '''')::integer',
            v_table
        );
        EXECUTE format(
            'COMMENT ON COLUMN %I.import_id IS ''The import that wrote the row; empty: before imports were noted, or by hand.''',
            v_table
        );
    END LOOP;
END
$$;

CREATE TABLE replaced_schools (
    replaced_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    school_key integer NOT NULL REFERENCES schools,
    records_tardies boolean NOT NULL,
    since_import integer,
    until_import integer NOT NULL
);
CREATE TABLE replaced_calendar (
    replaced_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    school_key integer NOT NULL REFERENCES schools,
    date date NOT NULL,
    is_instructional boolean NOT NULL,
    term_id text NOT NULL,
    school_year smallint NOT NULL,
    discipline_reported boolean NOT NULL,
    since_import integer,
    until_import integer NOT NULL
);
CREATE INDEX replaced_calendar_of_school ON replaced_calendar (school_key, until_import);
CREATE TABLE replaced_birth_dates (
    replaced_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id text NOT NULL DEFAULT current_setting('edupulse.district') REFERENCES districts,
    student_key bigint NOT NULL REFERENCES students,
    birth_date date,
    since_import integer,
    until_import integer NOT NULL
);
CREATE INDEX replaced_birth_dates_of_student ON replaced_birth_dates (student_key, until_import);

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['replaced_schools', 'replaced_calendar', 'replaced_birth_dates']
    LOOP
        EXECUTE format(
            'COMMENT ON TABLE %I IS ''What an import wrote over: it held from since_import (empty: always) until the import before until_import.''',
            v_table
        );
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

-- Two lines of one import about the same row leave what was before the import.
CREATE FUNCTION keep_replaced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_import integer := nullif(current_setting('edupulse.import', true), '')::integer;
BEGIN
    IF v_import IS NULL OR OLD.import_id IS NOT DISTINCT FROM v_import THEN
        RETURN NEW;
    END IF;
    NEW.import_id := v_import;
    CASE TG_TABLE_NAME
        WHEN 'schools' THEN
            INSERT INTO replaced_schools (school_key, records_tardies, since_import, until_import)
            VALUES (OLD.school_key, OLD.records_tardies, OLD.import_id, v_import);
        WHEN 'calendar' THEN
            INSERT INTO replaced_calendar (
                school_key, date, is_instructional, term_id, school_year, discipline_reported, since_import, until_import
            )
            VALUES (
                OLD.school_key, OLD.date, OLD.is_instructional, OLD.term_id, OLD.school_year, OLD.discipline_reported,
                OLD.import_id, v_import
            );
        WHEN 'students' THEN
            INSERT INTO replaced_birth_dates (student_key, birth_date, since_import, until_import)
            VALUES (OLD.student_key, OLD.birth_date, OLD.import_id, v_import);
    END CASE;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_replaced BEFORE UPDATE ON schools FOR EACH ROW
    WHEN (OLD.records_tardies IS DISTINCT FROM NEW.records_tardies) EXECUTE FUNCTION keep_replaced();
CREATE TRIGGER keep_replaced BEFORE UPDATE ON calendar FOR EACH ROW EXECUTE FUNCTION keep_replaced();
CREATE TRIGGER keep_replaced BEFORE UPDATE ON students FOR EACH ROW
    WHEN (OLD.birth_date IS DISTINCT FROM NEW.birth_date) EXECUTE FUNCTION keep_replaced();

-- As before, but the district and the import of a month's rows are constants while it is loaded: two look-ups of a setting
-- per row took a fifth of the time that COPY takes.
CREATE OR REPLACE FUNCTION begin_month(p_table text, p_month date) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_name text := loading_month(p_table, p_month);
    v_columns text;
BEGIN
    IF NOT loads_by_month(p_table) THEN
        RETURN NULL;
    END IF;
    IF to_regclass(format('partitions.%I', p_table || to_char(p_month, '"_y"YYYY"m"MM'))) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    SELECT string_agg(quote_ident(attname), ', ') INTO v_columns
    FROM pg_attribute
    WHERE attrelid = format('public.%I', p_table)::regclass
        AND attnum > 0 AND NOT attisdropped AND attname <> 'district_id';
    EXECUTE format('CREATE TABLE loading.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name, p_table);
    EXECUTE format(
        'ALTER TABLE loading.%I ALTER COLUMN district_id SET DEFAULT %L, ALTER COLUMN import_id SET DEFAULT %L',
        v_name, current_setting('edupulse.district', true), nullif(current_setting('edupulse.import', true), '')
    );
    EXECUTE format('GRANT SELECT, DELETE, INSERT (%s) ON loading.%I TO %I', v_columns, v_name, session_user);
    RETURN format('loading.%I', v_name);
END
$$;

CREATE OR REPLACE FUNCTION attach_month(p_table text, p_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_loading text := loading_month(p_table, p_month);
    v_name text := p_table || to_char(p_month, '"_y"YYYY"m"MM');
BEGIN
    IF NOT loads_by_month(p_table) THEN
        RAISE EXCEPTION 'table % is not loaded by month', p_table USING ERRCODE = 'undefined_table';
    END IF;
    EXECUTE format('REVOKE ALL ON loading.%I FROM %I', v_loading, session_user);
    PERFORM pg_advisory_xact_lock(hashtext('edupulse.partitions'), hashtext(p_table));
    IF EXISTS (SELECT FROM pg_class WHERE relname = v_name AND relnamespace = 'partitions'::regnamespace) THEN
        EXECUTE format('INSERT INTO public.%I SELECT * FROM loading.%I', p_table, v_loading);
        EXECUTE format('DROP TABLE loading.%I', v_loading);
        RETURN;
    END IF;
    EXECUTE format(
        'ALTER TABLE loading.%I ALTER COLUMN district_id SET DEFAULT current_setting(''edupulse.district''), '
        'ALTER COLUMN import_id SET DEFAULT nullif(current_setting(''edupulse.import'', true), '''')::integer',
        v_loading
    );
    EXECUTE format('ALTER TABLE loading.%I SET SCHEMA partitions', v_loading);
    EXECUTE format('ALTER TABLE partitions.%I RENAME TO %I', v_loading, v_name);
    EXECUTE format('ALTER TABLE partitions.%I RENAME CONSTRAINT %I TO %I', v_name, v_loading || '_pkey', v_name || '_pkey');
    EXECUTE format('ALTER TABLE partitions.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_name);
    EXECUTE format(
        'ALTER TABLE public.%I ATTACH PARTITION partitions.%I FOR VALUES FROM (%L) TO (%L)',
        p_table, v_name, p_month, (p_month + interval '1 month')::date
    );
END
$$;
