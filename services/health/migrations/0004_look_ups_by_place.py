"""Look-ups by place in the outbox, and by workspace among dead letters."""

from alembic import op

from libs.common.ddl import consumer_tables_v3

revision = "health_0004"
down_revision = "health_0003"


def upgrade() -> None:
    for statement in consumer_tables_v3("health"):
        op.execute(statement)
