"""Two processes that make the coming days' tables at the same time: the one that waited sees what the other made.

After a wait for an advisory lock `to_regclass` answers from a cache that has not heard of it yet, and the process ended
at its start with "already exists". A query looks anew.
"""

from alembic import op

revision = "log_0003"
down_revision = "log_0002"

STATEMENTS = [
    # As in 0001, but for the second look.
    """CREATE OR REPLACE FUNCTION log.keep_days_ahead() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
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
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'log' AND c.relname = name
            );
            EXECUTE format('CREATE TABLE log.%I (LIKE log.record INCLUDING STORAGE)
                WITH (autovacuum_vacuum_insert_threshold = -1)', name);
            EXECUTE format('CREATE UNIQUE INDEX ON log.%I (number, position)', name);
            EXECUTE format('ALTER TABLE log.record ATTACH PARTITION log.%I FOR VALUES FROM (%L) TO (%L)',
                name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
        END LOOP;
    END $$""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
