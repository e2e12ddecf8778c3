from alembic import op

revision = "log_0001"
down_revision = None


def upgrade() -> None:
    op.execute("SELECT 1")
