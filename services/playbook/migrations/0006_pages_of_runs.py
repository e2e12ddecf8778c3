"""A page of runs is found in one piece, whichever account, playbook or state it is of."""

from alembic import op

revision = "playbook_0006"
down_revision = "playbook_0005"

STATEMENTS = [
    # The last and the first one say all that these do. They go first: later, a service could hold a row and wait for
    # what an index here holds, and this for the row.
    "DROP INDEX playbook.run_workspace_id_account_id_idx",
    "DROP INDEX playbook.run_workspace_id_started_at_run_id_idx",
    "CREATE INDEX run_by_state ON playbook.run (workspace_id, state, started_at DESC, run_id DESC)",
    "CREATE INDEX run_by_playbook ON playbook.run (workspace_id, playbook, state, started_at DESC, run_id DESC)",
    "CREATE INDEX run_by_account ON playbook.run (workspace_id, account_id, started_at DESC, run_id DESC)",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
