"""Partitions that stop where records were lost, and moves of positions by operators."""

from alembic import op

from libs.common.ddl import consumer_tables_v2

revision = "playbook_0005"
down_revision = "playbook_0004"


def upgrade() -> None:
    for statement in consumer_tables_v2("playbook"):
        op.execute(statement)
