"""An account's open runs, and its last run of a playbook, are found without passing all that it has behind it."""

from alembic import op

revision = "playbook_0003"
down_revision = "playbook_0002"

STATEMENTS = [
    "CREATE INDEX open_run_by_account ON playbook.run (workspace_id, account_id) WHERE state = 'open'",
    """CREATE INDEX ended_run_by_account ON playbook.run (workspace_id, account_id, playbook, ended_at DESC)
        WHERE state = 'ended'""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
