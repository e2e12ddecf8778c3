"""Partitions that stop where records were lost, and moves of positions by operators."""

from alembic import op

from libs.common.ddl import consumer_tables_v2

revision = "health_0003"
down_revision = "health_0002"


def upgrade() -> None:
    for statement in consumer_tables_v2("health"):
        op.execute(statement)
