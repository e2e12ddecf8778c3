"""An API key knows which one it replaces; each is replaced once, however many ask for that at the same time."""

from alembic import op

revision = "access_0003"
down_revision = "access_0002"


def upgrade() -> None:
    op.execute("ALTER TABLE access.api_key ADD COLUMN replaces text UNIQUE REFERENCES access.api_key")
