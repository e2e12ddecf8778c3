"""What each version of a playbook said when it was first used."""

from alembic import op

revision = "playbook_0004"
down_revision = "playbook_0003"

STATEMENTS = [
    # A table of the system: playbooks are files of the installation, the same for every workspace.
    """CREATE TABLE playbook.known_definition (
        name text NOT NULL,
        version int NOT NULL,
        definition jsonb NOT NULL,
        known_since timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (name, version)
    )""",
    "GRANT SELECT, INSERT ON playbook.known_definition TO kizashi_playbook_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
