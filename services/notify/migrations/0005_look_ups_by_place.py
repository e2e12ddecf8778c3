"""Look-ups by place in the outbox, and by workspace among dead letters."""

from alembic import op

from libs.common.ddl import consumer_tables_v3

revision = "notify_0005"
down_revision = "notify_0004"


def upgrade() -> None:
    for statement in consumer_tables_v3("notify"):
        op.execute(statement)
