"""One workspace of a name: people and scripts tell them apart by it."""

from alembic import op

revision = "access_0002"
down_revision = "access_0001"


def upgrade() -> None:
    op.execute("ALTER TABLE access.workspace ADD UNIQUE (name)")
