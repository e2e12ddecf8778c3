"""Statements that several services' migrations share. What a migration once used is never changed: make a ``_v2``."""

from __future__ import annotations

CLAIM_WINDOW_DAYS = 7
CLAIM_TABLES = CLAIM_WINDOW_DAYS + 2
"""Today's, the window's, and one being emptied for tomorrow."""


def ensure_role(role: str, attributes: str = "NOLOGIN") -> str:
    """A statement that makes a role unless the cluster has it, also when somebody else is making it just now."""
    return (
        f"DO $$ BEGIN CREATE ROLE {role} {attributes} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


def roles_v1(service: str) -> list[str]:
    """The two roles of a service; neither owns anything or bypasses a policy."""
    statements = []
    for role in (f"kizashi_{service}_api", f"kizashi_{service}_worker"):
        statements += [
            ensure_role(role),
            f"GRANT USAGE ON SCHEMA {service} TO {role}",
            f"GRANT SELECT ON {service}.schema_version TO {role}",
            f"GRANT USAGE ON SCHEMA access TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA access TO {role}",
        ]
    return statements


def tenant_policy_v1(schema: str, *tables: str) -> list[str]:
    """Row-level security, forced on the owner too: only the transaction's own workspaces exist.

    The sub-select makes PostgreSQL evaluate the setting once per statement instead of once per row.
    """
    statements = []
    for table in tables:
        statements += [
            f"ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY own_workspaces ON {schema}.{table} "
            "USING (workspace_id = ANY ((SELECT access.visible_workspaces())::bigint[]))",
        ]
    return statements


def consumer_tables_v1(service: str) -> list[str]:
    """What the loop, the outbox and the dead letters of a service need; see positions.py, claims.py, outbox.py,
    dead_letters.py. Headers are JSON objects with base64 values: as jsonb they could not hold every name."""
    worker = f"kizashi_{service}_worker"
    api = f"kizashi_{service}_api"
    statements = [
        f"""CREATE TABLE {service}.consumer_position (
            topic text NOT NULL,
            partition int NOT NULL,
            log_identity text NOT NULL,
            next bigint NOT NULL,
            refused_in_a_row int NOT NULL DEFAULT 0,
            caught_up_to timestamptz,
            PRIMARY KEY (topic, partition)
        ) WITH (fillfactor = 50)""",
        f"""CREATE TABLE {service}.outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic text NOT NULL,
            partition int NOT NULL,
            key bytea NOT NULL,
            value bytea NOT NULL,
            headers bytea NOT NULL DEFAULT '{{}}',
            created_at timestamptz NOT NULL DEFAULT now()
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)""",
        f"""CREATE TABLE {service}.dead_letter (
            id uuid PRIMARY KEY,
            workspace_id bigint,
            topic text NOT NULL,
            partition int NOT NULL,
            log_offset bigint NOT NULL,
            reason text NOT NULL,
            detail text NOT NULL,
            key bytea NOT NULL,
            value bytea NOT NULL,
            headers bytea NOT NULL,
            claim uuid,
            died_at timestamptz NOT NULL DEFAULT now(),
            replayed_at timestamptz,
            settled_at timestamptz
        )""",
        f"CREATE INDEX ON {service}.dead_letter (died_at)",
        f"CREATE TABLE {service}.claim_day (slot int PRIMARY KEY, day date NOT NULL)",
    ]
    for slot in range(CLAIM_TABLES):
        statements += [
            f"CREATE TABLE {service}.claim_{slot} (id uuid PRIMARY KEY)",
            f"GRANT SELECT, INSERT, TRUNCATE ON {service}.claim_{slot} TO {worker}",
        ]
    return [
        *statements,
        f"GRANT SELECT, INSERT, UPDATE ON {service}.consumer_position, {service}.claim_day TO {worker}",
        f"GRANT SELECT, INSERT, DELETE ON {service}.outbox TO {worker}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {service}.dead_letter TO {worker}",
        f"GRANT SELECT, UPDATE (refused_in_a_row) ON {service}.consumer_position TO {api}",
        f"GRANT SELECT, INSERT ON {service}.outbox TO {api}",
        f"GRANT SELECT, UPDATE (replayed_at) ON {service}.dead_letter TO {api}",
    ]


def consumer_tables_v2(service: str) -> list[str]:
    """What an operator's moves of positions need; see positions.py and log_api.py. ``lost`` says why a position cannot
    be read from: it stays until somebody moves the position, even if the log grows past it meanwhile."""
    api = f"kizashi_{service}_api"
    return [
        f"ALTER TABLE {service}.consumer_position ADD COLUMN lost text",
        f"""CREATE TABLE {service}.position_move (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic text NOT NULL,
            partition int NOT NULL,
            log_identity text NOT NULL,
            moved_from bigint NOT NULL,
            moved_to bigint NOT NULL,
            moved_by text NOT NULL,
            moved_at timestamptz NOT NULL DEFAULT now()
        )""",
        f"GRANT UPDATE (next, lost) ON {service}.consumer_position TO {api}",
        f"GRANT SELECT, INSERT ON {service}.position_move TO {api}",
    ]


def consumer_tables_v3(service: str) -> list[str]:
    """Look-ups that what others have, or what waits for others, does not slow down: the rows of an outbox by place (see
    outbox_window.py), and a workspace's dead letters, newest first (see dead_letters.py)."""
    return [
        f"CREATE INDEX ON {service}.outbox (topic, partition, id)",
        f"CREATE INDEX ON {service}.dead_letter (workspace_id, died_at DESC, id)",
    ]
