"""The event log of the PostgreSQL engine: counters, records in one table per day, positions of groups, identity."""

from alembic import op

from libs.common.ddl import ensure_role

revision = "log_0001"
down_revision = None

TOPICS = ("telemetry", "telemetry-import", "health", "touches", "deliveries")
PARTITIONS = 12

STATEMENTS = [
    ensure_role("kizashi_log"),
    "CREATE TABLE log.identity (id uuid NOT NULL DEFAULT gen_random_uuid())",
    "CREATE UNIQUE INDEX only_one ON log.identity ((true))",
    "INSERT INTO log.identity DEFAULT VALUES",
    # The counters. The lock of a row makes the positions of its partition gap-free and visible in their order. Rows
    # are updated by every append, so pages keep room for many versions of few rows.
    """CREATE TABLE log.topic_partition (
        number smallint PRIMARY KEY,
        topic text NOT NULL,
        partition int NOT NULL,
        earliest bigint NOT NULL DEFAULT 0,
        next bigint NOT NULL DEFAULT 0,
        UNIQUE (topic, partition)
    ) WITH (fillfactor = 10)""",
    # Append-only, so there is nothing to vacuum; each day's table has its own index (see keep_days_ahead).
    """CREATE TABLE log.record (
        position bigint NOT NULL,
        appended_at timestamptz NOT NULL,
        number smallint NOT NULL,
        key bytea NOT NULL,
        value bytea NOT NULL,
        headers bytea
    ) PARTITION BY RANGE (appended_at)""",
    # How far each group is, for retention and lag tools; consumers keep their own positions.
    """CREATE TABLE log.group_position (
        group_name text NOT NULL,
        number smallint NOT NULL,
        position bigint NOT NULL,
        noted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (group_name, number)
    ) WITH (fillfactor = 50)""",
    # One call is one transaction and the whole of it has arrived before it takes a lock, so a writer that freezes or
    # dies never holds a counter. $row_numbers and $ranks say for each record its partition and its place among the
    # call's records of that partition; $numbers and $counts sum that up. Runs as the owner: nobody else can write.
    """CREATE FUNCTION log.append(
        numbers smallint[], counts int[],
        row_numbers smallint[], ranks int[], keys bytea[], bodies bytea[], headers bytea[]
    ) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        moment timestamptz;
    BEGIN
        PERFORM FROM log.topic_partition p WHERE p.number = ANY (numbers) ORDER BY p.number
        FOR NO KEY UPDATE;
        moment := clock_timestamp();
        WITH moved AS (
            UPDATE log.topic_partition p SET next = p.next + given.count
            FROM unnest(numbers, counts) AS given (number, count) WHERE p.number = given.number
            RETURNING p.number, p.next - given.count AS first
        )
        INSERT INTO log.record (position, appended_at, number, key, value, headers)
        SELECT moved.first + r.rank, moment, r.number, r.key, r.body, r.headers
        FROM unnest(row_numbers, ranks, keys, bodies, headers) AS r (number, rank, key, body, headers)
        JOIN moved ON moved.number = r.number;
    END $$""",
    # A day begins at midnight UTC. Attaching a table does not wait for readers or writers, as CREATE … PARTITION OF
    # would.
    """CREATE FUNCTION log.keep_days_ahead() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
    DECLARE
        today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
        day date;
        name text;
    BEGIN
        FOR day IN SELECT today + n FROM generate_series(0, 3) AS n LOOP
            name := 'record_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('log.' || name) IS NOT NULL;
            PERFORM pg_advisory_xact_lock(hashtextextended('log days', 0));
            CONTINUE WHEN to_regclass('log.' || name) IS NOT NULL;
            EXECUTE format('CREATE TABLE log.%I (LIKE log.record INCLUDING STORAGE)
                WITH (autovacuum_vacuum_insert_threshold = -1)', name);
            EXECUTE format('CREATE UNIQUE INDEX ON log.%I (number, position)', name);
            EXECUTE format('ALTER TABLE log.record ATTACH PARTITION log.%I FOR VALUES FROM (%L) TO (%L)',
                name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
        END LOOP;
    END $$""",
    # Oldest day first, and none after the first that some group still has to read. The positions of the groups lag by
    # a second or so, on the safe side. Answers with the days dropped and the days held back, and by whom.
    """CREATE FUNCTION log.drop_old_days(retention_days int) RETURNS TABLE (day date, held_by text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
    DECLARE
        today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
        name text;
        numbers smallint[];
        ends bigint[];
    BEGIN
        IF retention_days < 1 THEN
            RAISE EXCEPTION 'the event log keeps at least one day, not %', retention_days;
        END IF;
        FOR name, day IN
            SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c
            ON c.oid = i.inhrelid WHERE i.inhparent = 'log.record'::regclass ORDER BY 2
        LOOP
            EXIT WHEN day + 1 + retention_days > today;
            -- In the order in which appends lock them.
            PERFORM FROM log.topic_partition p ORDER BY p.number FOR NO KEY UPDATE;
            CONTINUE WHEN to_regclass('log.' || name) IS NULL;  -- another process was faster
            EXECUTE format('SELECT array_agg(p.number), array_agg((SELECT max(r.position) + 1 FROM log.%I r
                WHERE r.number = p.number)) FROM log.topic_partition p', name) INTO numbers, ends;
            SELECT string_agg(DISTINCT g.group_name, ', ') INTO held_by
            FROM log.group_position g JOIN unnest(numbers, ends) AS e (number, position) ON e.number = g.number
            WHERE g.position < e.position;
            RETURN NEXT;
            EXIT WHEN held_by IS NOT NULL;
            UPDATE log.topic_partition p SET earliest = greatest(p.earliest, e.position)
            FROM unnest(numbers, ends) AS e (number, position) WHERE e.number = p.number;
            EXECUTE format('DROP TABLE log.%I', name);
        END LOOP;
    END $$""",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC",
    "GRANT USAGE ON SCHEMA log TO kizashi_log",
    "GRANT SELECT ON log.schema_version, log.identity, log.topic_partition, log.record TO kizashi_log",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON log.group_position TO kizashi_log",
    "GRANT EXECUTE ON FUNCTION log.append, log.keep_days_ahead, log.drop_old_days TO kizashi_log",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    places = [(topic, n) for topic in (*TOPICS, *(f"{topic}-dlq" for topic in TOPICS)) for n in range(PARTITIONS)]
    op.execute(
        "INSERT INTO log.topic_partition (number, topic, partition) VALUES "
        + ", ".join(f"({number}, '{topic}', {partition})" for number, (topic, partition) in enumerate(places))
    )
