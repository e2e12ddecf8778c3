"""A log that was moved takes no append and says where it is now; a move notes what it has to do and whether it is done.

Code of the release before goes on: it knows nothing of moves, and an append to a sealed log is an error to it that it
tries again.
"""

from alembic import op

revision = "log_0002"
down_revision = "log_0001"

STATEMENTS = [
    "ALTER TABLE log.identity ADD COLUMN moved_to text",
    # As in 0001, and looks for the seal while it holds the counters: whoever seals takes all of them first, so an
    # append is either before the seal or refused, and never between the last look at the counters and the seal.
    """CREATE OR REPLACE FUNCTION log.append(
        numbers smallint[], counts int[],
        row_numbers smallint[], ranks int[], keys bytea[], bodies bytea[], headers bytea[]
    ) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        moment timestamptz;
        place text;
    BEGIN
        PERFORM FROM log.topic_partition p WHERE p.number = ANY (numbers) ORDER BY p.number
        FOR NO KEY UPDATE;
        SELECT i.moved_to INTO place FROM log.identity i;
        IF place IS NOT NULL THEN
            RAISE EXCEPTION 'this event log was moved to % and takes no more records; '
                'set KIZASHI_LOG_URL to where it is now and start this process again', place
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
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
    # In the database of the services, wherever the log itself is. Addresses are for people and hold no password.
    """CREATE TABLE log.move (
        number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        origin text NOT NULL,
        destination text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(),
        ended_at timestamptz,
        outcome text CHECK (outcome IN ('moved', 'given up')),
        CHECK ((ended_at IS NULL) = (outcome IS NULL))
    )""",
    "CREATE UNIQUE INDEX one_at_a_time ON log.move ((true)) WHERE ended_at IS NULL",
    # What lies from $first on in the old log is to be found, in its order, from $begin on in the new one.
    """CREATE TABLE log.move_partition (
        move int NOT NULL REFERENCES log.move,
        topic text NOT NULL,
        partition int NOT NULL,
        old_identity text NOT NULL,
        first bigint NOT NULL,
        new_identity text NOT NULL,
        begin bigint NOT NULL,
        PRIMARY KEY (move, topic, partition)
    )""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
