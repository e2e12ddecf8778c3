"""Write keys that expire, have a quota and belong to pages; API keys that people make over HTTP."""

from alembic import op

revision = "ingest_0003"
down_revision = "ingest_0002"

STATEMENTS = [
    """ALTER TABLE ingest.write_key
        ADD COLUMN expires_at timestamptz,
        ADD COLUMN events_per_s int CHECK (events_per_s > 0),
        ADD COLUMN origins text[] NOT NULL DEFAULT '{}'""",
    "GRANT UPDATE (expires_at, events_per_s, origins) ON ingest.write_key TO kizashi_ingest_api",
    "GRANT INSERT, UPDATE (expires_at, revoked_at) ON access.api_key TO kizashi_ingest_api",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
