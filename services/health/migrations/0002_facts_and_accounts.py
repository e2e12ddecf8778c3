"""Facts at user level with both times, the queues from facts to scores, and the accounts.

Four groups of tables, in the order in which work passes through them: what telemetry handlers write (facts), what the
router and the score worker take (queues), what the score worker alone writes (roll-ups and accounts).
"""

from alembic import op

from libs.common.ddl import consumer_tables_v1, tenant_policy_v1

revision = "health_0002"
down_revision = "health_0001"

# A counter that is updated all day leaves its page alone if there is room beside it.
COUNTERS = "WITH (fillfactor = 80)"
# A queue lives and dies by the rows deleted from it.
QUEUE = "WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)"

FACTS = [
    # user_key: «u:» and a user id, «a:» and an anonymous id, or empty for a machine that names only an account.
    # account_id: the account that the event itself named, or empty.
    f"""CREATE TABLE health.usage (
        workspace_id bigint NOT NULL,
        user_key text NOT NULL,
        event_day date NOT NULL,
        account_id text NOT NULL,
        event text NOT NULL,
        source bigint NOT NULL,
        arrival_day date NOT NULL,
        n bigint NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, user_key, event_day, account_id, event, source, arrival_day)
    ) {COUNTERS}""",
    # One row for all calls of a day that set the same traits; digest is of the traits.
    f"""CREATE TABLE health.user_trait (
        workspace_id bigint NOT NULL,
        user_key text NOT NULL,
        source bigint NOT NULL,
        digest bytea NOT NULL,
        event_day date NOT NULL,
        arrival_day date NOT NULL,
        traits jsonb NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, user_key, source, digest, event_day, arrival_day)
    ) {COUNTERS}""",
    f"""CREATE TABLE health.account_trait (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        source bigint NOT NULL,
        digest bytea NOT NULL,
        event_day date NOT NULL,
        arrival_day date NOT NULL,
        traits jsonb NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, account_id, source, digest, event_day, arrival_day)
    ) {COUNTERS}""",
    # Every address that a person ever gave: whoever once had one of ours is one of us.
    """CREATE TABLE health.user_email (
        workspace_id bigint NOT NULL,
        user_key text NOT NULL,
        email text NOT NULL,
        PRIMARY KEY (workspace_id, user_key, email)
    )""",
    f"""CREATE TABLE health.group_call (
        workspace_id bigint NOT NULL,
        user_key text NOT NULL,
        account_id text NOT NULL,
        event_day date NOT NULL,
        arrival_day date NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, user_key, account_id, event_day, arrival_day)
    ) {COUNTERS}""",
    f"""CREATE TABLE health.identity_link (
        workspace_id bigint NOT NULL,
        user_key text NOT NULL,
        person_key text NOT NULL,
        event_day date NOT NULL,
        arrival_day date NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, user_key, person_key, event_day, arrival_day)
    ) {COUNTERS}""",
    "CREATE INDEX ON health.identity_link (workspace_id, person_key, user_key)",
    """CREATE TABLE health.occurrence (
        workspace_id bigint NOT NULL,
        source bigint NOT NULL,
        message_id text NOT NULL,
        user_key text NOT NULL,
        account_id text NOT NULL,
        event text NOT NULL,
        event_day date NOT NULL,
        at timestamptz NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        properties jsonb NOT NULL,
        PRIMARY KEY (workspace_id, source, message_id)
    )""",
    "CREATE INDEX ON health.occurrence (workspace_id, user_key, event_day)",
    """CREATE TABLE health.source (
        workspace_id bigint NOT NULL,
        source bigint NOT NULL,
        live_since timestamptz,
        PRIMARY KEY (workspace_id, source)
    )""",
    """CREATE TABLE health.source_mark (
        workspace_id bigint NOT NULL,
        source bigint NOT NULL,
        topic text NOT NULL,
        partition int NOT NULL,
        PRIMARY KEY (workspace_id, source, topic, partition)
    )""",
]

# until: domain time of the latest fact behind a row; since: real time at which it could first be known.
QUEUES = [
    f"""CREATE TABLE health.request (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace_id bigint NOT NULL,
        kind text NOT NULL,
        user_key text NOT NULL,
        target text NOT NULL,
        day date,
        lane text NOT NULL,
        until timestamptz NOT NULL,
        since timestamptz NOT NULL DEFAULT clock_timestamp()
    ) {QUEUE}""",
    "CREATE INDEX ON health.request (lane, id)",
    # user_key NULL: nothing to roll up; day NULL: every day of the user.
    f"""CREATE TABLE health.dirty (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        user_key text,
        day date,
        lane text NOT NULL,
        until timestamptz NOT NULL,
        since timestamptz NOT NULL
    ) {QUEUE}""",
    "CREATE INDEX ON health.dirty (lane, until)",
    "CREATE INDEX ON health.dirty (workspace_id, account_id)",
    # due_at is domain time, publish_at and not_before are real time.
    """CREATE TABLE health.schedule (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        due_at timestamptz,
        publish_at timestamptz,
        not_before timestamptz NOT NULL DEFAULT '-infinity',
        PRIMARY KEY (workspace_id, account_id)
    ) WITH (fillfactor = 70)""",
    "CREATE INDEX ON health.schedule (due_at)",
    "CREATE INDEX ON health.schedule (publish_at) WHERE publish_at IS NOT NULL",
]

ACCOUNTS = [
    # named: the event itself named the account; else the user belongs to it.
    """CREATE TABLE health.account_usage (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        event_day date NOT NULL,
        user_key text NOT NULL,
        event text NOT NULL,
        source bigint NOT NULL,
        person text NOT NULL,
        n bigint NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, account_id, event_day, user_key, event, source)
    )""",
    "CREATE INDEX ON health.account_usage (workspace_id, user_key, account_id)",
    # n counts every call; people_n and its times only those of people who count.
    """CREATE TABLE health.account_day (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        event_day date NOT NULL,
        event text NOT NULL,
        source bigint NOT NULL,
        n bigint NOT NULL,
        first_at timestamptz NOT NULL,
        people_n bigint NOT NULL,
        people_first_at timestamptz,
        people_last_at timestamptz,
        PRIMARY KEY (workspace_id, account_id, event_day, event, source)
    )""",
    # Who was active on a day, and from when to when.
    """CREATE TABLE health.account_people (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        event_day date NOT NULL,
        source bigint NOT NULL,
        people text[] NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, account_id, event_day, source)
    )""",
    """CREATE TABLE health.account_occurrence (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        event_day date NOT NULL,
        user_key text NOT NULL,
        source bigint NOT NULL,
        message_id text NOT NULL,
        event text NOT NULL,
        at timestamptz NOT NULL,
        properties jsonb NOT NULL,
        PRIMARY KEY (workspace_id, account_id, event_day, user_key, source, message_id)
    )""",
    # standing: what the rules remember; told: the snapshot last published; counters give ids to derived events.
    """CREATE TABLE health.account (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        name text NOT NULL,
        segment text NOT NULL,
        stage text NOT NULL,
        arr double precision,
        owner text,
        contact_email text,
        contact_name text,
        renewal_date date,
        band text,
        score double precision,
        silent_since timestamptz,
        last_activity_at timestamptz,
        as_of timestamptz NOT NULL,
        scored_at timestamptz NOT NULL,
        silence_judged_at timestamptz,
        scorecard jsonb NOT NULL,
        standing jsonb NOT NULL,
        trend int[] NOT NULL,
        activity_digest bytea NOT NULL,
        version bigint NOT NULL,
        band_changes bigint NOT NULL,
        silences bigint NOT NULL,
        told jsonb NOT NULL,
        told_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, account_id)
    ) WITH (fillfactor = 70)""",
    # as_of is domain time, known_at real time: what we believed, and when we did.
    """CREATE TABLE health.score_history (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        as_of timestamptz NOT NULL,
        known_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        score double precision,
        band text,
        segment text NOT NULL,
        stage text NOT NULL,
        scorecard jsonb NOT NULL,
        PRIMARY KEY (workspace_id, account_id, as_of)
    )""",
]

FACT_TABLES = [
    *("usage", "user_trait", "account_trait", "user_email", "group_call", "identity_link", "occurrence"),
    *("source", "source_mark"),
]
ROLL_UP_TABLES = ["account_usage", "account_day", "account_people", "account_occurrence"]
QUEUE_TABLES = ["request", "dirty", "schedule"]
STATE_TABLES = ["account", "score_history"]


def _of_health(tables: list[str]) -> str:
    return ", ".join(f"health.{table}" for table in tables)


def upgrade() -> None:
    everything = FACT_TABLES + ROLL_UP_TABLES + QUEUE_TABLES + STATE_TABLES
    for statement in [
        *consumer_tables_v1("health"),
        *FACTS,
        *QUEUES,
        *ACCOUNTS,
        *tenant_policy_v1("health", *FACT_TABLES, *ROLL_UP_TABLES, *STATE_TABLES),
        f"GRANT SELECT, INSERT, UPDATE ON {_of_health(FACT_TABLES + STATE_TABLES)} TO kizashi_health_worker",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_of_health(ROLL_UP_TABLES + QUEUE_TABLES)} TO kizashi_health_worker",
        f"GRANT SELECT ON {_of_health(everything)} TO kizashi_health_api",
    ]:
        op.execute(statement)
