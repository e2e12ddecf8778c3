"""A write key knows which one it replaces; each is replaced once, however many ask for that at the same time."""

from alembic import op

revision = "ingest_0005"
down_revision = "ingest_0004"


def upgrade() -> None:
    op.execute("ALTER TABLE ingest.write_key ADD COLUMN replaces text UNIQUE REFERENCES ingest.write_key")
