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
