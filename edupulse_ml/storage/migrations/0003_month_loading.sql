-- Months of records that are loaded before they become partitions: rows are copied into a table of their own, which is
-- indexed when it holds them all, and attached. Only months that nobody has rows in; others take rows through their parent.

-- As before, but partitions of different tables no longer wait for each other: an import keeps the lock of its table
-- until it commits (attach_month), which must not hold up the partitions of predictions.
CREATE OR REPLACE FUNCTION ensure_partitions(p_table text, p_from date, p_to date) RETURNS integer
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
        PERFORM pg_advisory_xact_lock(hashtext('edupulse.partitions'), hashtext(p_table));
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

-- COPY is refused on tables with row-level security, so a month has none until it is attached. Nobody gains by it: only
-- the transaction that made it sees it and its rows, and the importing role may not name the column `district_id`, whose
-- default is the connection's district.
CREATE SCHEMA loading;
GRANT USAGE ON SCHEMA loading TO PUBLIC;

CREATE FUNCTION loading_month(p_table text, p_month date) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT p_table || to_char(p_month::timestamp, '"_y"YYYY"m"MM"_"') || pg_current_xact_id()::text
$$;

-- Whether the session's role may load months of a table: one split into partitions by date, to which it may add rows.
CREATE FUNCTION loads_by_month(p_table text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM dated_tables AS dated
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = to_regclass(format('public.%I', dated.table_name))
            AND attribute.attname = dated.column_name
        WHERE dated.table_name = p_table AND dated.kind = 'partitions' AND attribute.atttypid = 'date'::regtype
    ) THEN
        RETURN false;
    END IF;
    RETURN has_table_privilege(session_user, format('public.%I', p_table), 'INSERT');
END
$$;

-- Makes a table for a month that has no partition yet, gone with the transaction unless it is attached, and returns its
-- name; NULL: the month exists, or the table is not loaded so. Everybody may call this: it gives nothing to a role that
-- may not insert into the table.
CREATE FUNCTION begin_month(p_table text, p_month date) RETURNS text
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
    EXECUTE format('GRANT SELECT, DELETE, INSERT (%s) ON loading.%I TO %I', v_columns, v_name, session_user);
    RETURN format('loading.%I', v_name);
END
$$;

-- Gives the month that begin_month began in this transaction the primary key of its table: at once, which takes a third
-- of the time that entry after entry takes.
CREATE FUNCTION index_month(p_table text, p_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_key text;
BEGIN
    SELECT pg_get_constraintdef(oid) INTO v_key
    FROM pg_constraint WHERE conrelid = to_regclass(format('public.%I', p_table)) AND contype = 'p';
    EXECUTE format(
        'ALTER TABLE loading.%1$I ADD CONSTRAINT %2$I %3$s',
        loading_month(p_table, p_month), loading_month(p_table, p_month) || '_pkey', v_key
    );
END
$$;

-- Makes the month that begin_month began in this transaction a partition, or moves its rows if another transaction has
-- made that partition meanwhile.
CREATE FUNCTION attach_month(p_table text, p_month date) RETURNS void
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
