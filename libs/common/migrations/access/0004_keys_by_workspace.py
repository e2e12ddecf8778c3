"""A workspace's API keys are found by it."""

from alembic import op

revision = "access_0004"
down_revision = "access_0003"


def upgrade() -> None:
    op.execute("CREATE INDEX ON access.api_key (workspace_id)")
