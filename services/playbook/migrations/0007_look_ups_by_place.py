"""Look-ups by place in the outbox, and by workspace among dead letters."""

from alembic import op

from libs.common.ddl import consumer_tables_v3

revision = "playbook_0007"
down_revision = "playbook_0006"


def upgrade() -> None:
    for statement in consumer_tables_v3("playbook"):
        op.execute(statement)
