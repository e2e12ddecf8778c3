"""The projection of accounts, runs with their touches, and what people read about them."""

from alembic import op

from libs.common.ddl import consumer_tables_v1, tenant_policy_v1

revision = "playbook_0002"
down_revision = "playbook_0001"

STATEMENTS = [
    *consumer_tables_v1("playbook"),
    # ``snapshot`` is the newest AccountChanged as it travelled, so that a field added to it needs no migration.
    """CREATE TABLE playbook.account (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        version bigint NOT NULL,
        snapshot jsonb NOT NULL,
        last_green_version bigint NOT NULL,
        last_active_version bigint NOT NULL,
        PRIMARY KEY (workspace_id, account_id)
    )""",
    """CREATE TABLE playbook.waiting_finding (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        finding_id text NOT NULL,
        finding jsonb NOT NULL,
        PRIMARY KEY (workspace_id, account_id, finding_id)
    )""",
    # ``definition`` pins the playbook as it was when the run started; all times are domain time.
    """CREATE TABLE playbook.run (
        workspace_id bigint NOT NULL,
        run_id uuid NOT NULL,
        account_id text NOT NULL,
        playbook text NOT NULL,
        definition jsonb NOT NULL,
        tier text NOT NULL,
        episode bigint NOT NULL,
        finding jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('open', 'ended')),
        step int NOT NULL,
        next_step_at timestamptz NOT NULL,
        started_at timestamptz NOT NULL,
        ended_at timestamptz,
        outcome text,
        PRIMARY KEY (workspace_id, run_id),
        CHECK ((state = 'ended') = (ended_at IS NOT NULL AND outcome IS NOT NULL))
    )""",
    """CREATE UNIQUE INDEX one_open_run_per_playbook_and_account
        ON playbook.run (workspace_id, playbook, account_id) WHERE state = 'open'""",
    "CREATE INDEX ON playbook.run (workspace_id, account_id)",
    "CREATE INDEX ON playbook.run (workspace_id, started_at DESC, run_id DESC)",
    # Open runs by the moment of their next step. A table of the system: the step worker looks for what is due in all
    # workspaces, then opens that one workspace. It names runs and says nothing about them.
    """CREATE TABLE playbook.schedule (
        workspace_id bigint NOT NULL,
        run_id uuid NOT NULL,
        due_at timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, run_id)
    )""",
    "CREATE INDEX ON playbook.schedule (due_at)",
    """CREATE TABLE playbook.touch (
        workspace_id bigint NOT NULL,
        touch_id uuid NOT NULL,
        run_id uuid NOT NULL,
        account_id text NOT NULL,
        step int NOT NULL,
        channel text NOT NULL,
        recipient text,
        template text NOT NULL,
        state text NOT NULL CHECK (state IN ('requested', 'cancelled', 'suppressed', 'failed', 'delivered')),
        reason text,
        provider_id text,
        requested_at timestamptz NOT NULL,
        settled_at timestamptz,
        PRIMARY KEY (workspace_id, touch_id)
    )""",
    "CREATE INDEX ON playbook.touch (workspace_id, run_id)",
    # ``n`` orders entries of the same moment as they were written.
    """CREATE TABLE playbook.timeline_entry (
        workspace_id bigint NOT NULL,
        account_id text NOT NULL,
        entry_id uuid NOT NULL,
        n bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL,
        kind text NOT NULL,
        title text NOT NULL,
        details jsonb NOT NULL,
        PRIMARY KEY (workspace_id, account_id, entry_id)
    )""",
    "CREATE INDEX ON playbook.timeline_entry (workspace_id, account_id, at DESC, n DESC)",
    *tenant_policy_v1("playbook", "account", "waiting_finding", "run", "touch", "timeline_entry"),
    "GRANT SELECT ON playbook.account, playbook.run, playbook.touch, playbook.timeline_entry TO kizashi_playbook_api",
    "GRANT SELECT, INSERT, UPDATE ON playbook.account, playbook.run, playbook.touch TO kizashi_playbook_worker",
    "GRANT SELECT, INSERT ON playbook.timeline_entry TO kizashi_playbook_worker",
    "GRANT SELECT, INSERT, DELETE ON playbook.waiting_finding TO kizashi_playbook_worker",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON playbook.schedule TO kizashi_playbook_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
