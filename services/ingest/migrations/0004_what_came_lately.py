"""What was taken and refused lately, for people who ask whether their event arrived."""

from alembic import op

from libs.common.ddl import tenant_policy_v1

revision = "ingest_0004"
down_revision = "ingest_0003"

# Unlogged: rows that others replace within seconds are not worth write-ahead log, and nothing is decided by them, so a
# crash of PostgreSQL may take them. Numbers are in the order of commits: whoever writes takes a lock first.
STATEMENTS = [
    """CREATE UNLOGGED TABLE ingest.recent_event (
        workspace_id bigint NOT NULL,
        source_id bigint NOT NULL,
        number bigint GENERATED ALWAYS AS IDENTITY,
        noted_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        occurred_at timestamptz NOT NULL,
        message_id text NOT NULL,
        message_id_sent boolean NOT NULL,
        kind text NOT NULL,
        event text NOT NULL,
        user_id text,
        anonymous_id text,
        account_id text,
        account_rule text,
        flags text[] NOT NULL,
        historical boolean NOT NULL,
        strict boolean NOT NULL,
        key_id text NOT NULL,
        PRIMARY KEY (workspace_id, source_id, number)
    )""",
    """CREATE UNLOGGED TABLE ingest.recent_reject (
        workspace_id bigint NOT NULL,
        source_id bigint NOT NULL,
        number bigint GENERATED ALWAYS AS IDENTITY,
        noted_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        status int,
        code text NOT NULL,
        message text NOT NULL,
        times int NOT NULL,
        index int,
        message_id text,
        original bytea NOT NULL,
        original_bytes int NOT NULL,
        historical boolean NOT NULL,
        strict boolean NOT NULL,
        key_id text NOT NULL,
        PRIMARY KEY (workspace_id, source_id, number)
    )""",
    *tenant_policy_v1("ingest", "recent_event", "recent_reject"),
    "GRANT SELECT ON ingest.recent_event, ingest.recent_reject TO kizashi_ingest_api",
    "GRANT SELECT, INSERT, DELETE ON ingest.recent_event, ingest.recent_reject TO kizashi_ingest_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
