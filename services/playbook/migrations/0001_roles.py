"""The roles of the service."""

from alembic import op

from libs.common.ddl import roles_v1

revision = "playbook_0001"
down_revision = None


def upgrade() -> None:
    for statement in roles_v1("playbook"):
        op.execute(statement)
