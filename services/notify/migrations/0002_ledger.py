"""The delivery ledger, its schedule and lanes, delivery modes and suppression lists."""

from alembic import op

from libs.common.ddl import consumer_tables_v1, tenant_policy_v1

revision = "notify_0002"
down_revision = "notify_0001"

WORKER = "kizashi_notify_worker"
API = "kizashi_notify_api"

STATEMENTS = [
    *consumer_tables_v1("notify"),
    # What was decided about telling somebody, and what came of it. Kept for as long as the account is.
    """CREATE TABLE notify.delivery (
        workspace_id bigint NOT NULL,
        delivery_id uuid NOT NULL,
        seq bigint GENERATED ALWAYS AS IDENTITY,
        dedupe_key text NOT NULL,
        account_id text NOT NULL,
        run_id text NOT NULL,
        playbook text NOT NULL,
        tier text NOT NULL,
        channel text NOT NULL CHECK (channel IN ('slack', 'email')),
        target text,
        template text NOT NULL,
        facts jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'failed', 'suppressed', 'unknown')),
        reason text,
        attempt int NOT NULL DEFAULT 0,
        doubtful int NOT NULL DEFAULT 0,
        cancelled boolean NOT NULL DEFAULT false,
        provider_id text,
        last_problem text,
        requested_at timestamptz NOT NULL,
        fresh_until timestamptz NOT NULL,
        due_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        attempted_at timestamptz,
        lease_until timestamptz,
        accepted_at timestamptz,
        settled_at timestamptz,
        PRIMARY KEY (workspace_id, delivery_id),
        UNIQUE (workspace_id, dedupe_key),
        CHECK ((reason IS NOT NULL) = (state IN ('failed', 'suppressed'))),
        CHECK ((settled_at IS NOT NULL) = (state IN ('sent', 'failed', 'suppressed')))
    )""",
    "CREATE INDEX ON notify.delivery (workspace_id, seq)",
    "CREATE INDEX ON notify.delivery (workspace_id, account_id, seq)",
    "CREATE INDEX ON notify.delivery (workspace_id, channel, attempted_at) WHERE attempted_at IS NOT NULL",
    # When each unsettled delivery is due; gone once it is settled. Worked across workspaces, so it names nobody:
    # lane and account are hashes.
    """CREATE TABLE notify.schedule (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace_id bigint NOT NULL,
        delivery_id uuid NOT NULL,
        channel text NOT NULL,
        lane bigint NOT NULL,
        account bigint NOT NULL,
        not_before timestamptz NOT NULL DEFAULT now(),
        waiting_for text NOT NULL DEFAULT 'turn'
            CHECK (waiting_for IN ('turn', 'retry', 'channel', 'hourly_cap', 'lease', 'outcome')),
        UNIQUE (workspace_id, delivery_id)
    ) WITH (fillfactor = 70)""",
    "CREATE INDEX ON notify.schedule (channel, not_before)",
    "CREATE INDEX ON notify.schedule (lane, account, seq)",
    # One per place that messages go to: what goes there goes one at a time. ``holder`` is the attempt that is under
    # way, ``place`` the provider's own name of it.
    """CREATE TABLE notify.lane (
        lane bigint PRIMARY KEY,
        not_before timestamptz NOT NULL DEFAULT now(),
        failures int NOT NULL DEFAULT 0,
        holder text,
        place text
    ) WITH (fillfactor = 50)""",
    """CREATE TABLE notify.delivery_mode (
        workspace_id bigint PRIMARY KEY,
        mode text NOT NULL CHECK (mode IN ('observe', 'enabled')),
        kill_switch boolean NOT NULL,
        slack_hourly_cap int NOT NULL CHECK (slack_hourly_cap >= 0),
        email_hourly_cap int NOT NULL CHECK (email_hourly_cap >= 0),
        webhook_unknown text NOT NULL CHECK (webhook_unknown IN ('prefer_duplicate', 'prefer_miss')),
        changed_at timestamptz NOT NULL DEFAULT now(),
        changed_by text NOT NULL
    )""",
    """CREATE TABLE notify.suppression (
        workspace_id bigint NOT NULL,
        channel text NOT NULL CHECK (channel IN ('slack', 'email')),
        target text NOT NULL,
        reason text NOT NULL,
        added_at timestamptz NOT NULL DEFAULT now(),
        added_by text NOT NULL,
        PRIMARY KEY (workspace_id, channel, target)
    )""",
    # Touches that were cancelled before they were requested, as a replayed dead letter may be.
    """CREATE TABLE notify.cancellation (
        workspace_id bigint NOT NULL,
        touch_id text NOT NULL,
        cancelled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, touch_id)
    )""",
    *tenant_policy_v1("notify", "delivery", "delivery_mode", "suppression", "cancellation"),
    f"GRANT SELECT, INSERT, UPDATE ON notify.delivery, notify.lane TO {WORKER}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON notify.schedule TO {WORKER}",
    f"GRANT SELECT ON notify.delivery_mode TO {WORKER}",
    f"GRANT SELECT, INSERT ON notify.suppression, notify.cancellation TO {WORKER}",
    f"GRANT SELECT ON notify.delivery TO {API}",
    f"GRANT SELECT, UPDATE (not_before) ON notify.schedule TO {API}",
    f"GRANT SELECT, INSERT, UPDATE ON notify.delivery_mode TO {API}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON notify.suppression TO {API}",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
