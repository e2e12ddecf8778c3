"""A page of deliveries is found in one piece, whichever channel or state it is of; so is what waits, in the order in
which it is due, by lane and by workspace."""

from alembic import op

revision = "notify_0004"
down_revision = "notify_0003"

STATEMENTS = [
    # ``schedule_in_order`` says all that this does. It goes first: who is about to send holds a row of the schedule and
    # wants its delivery next, which the first index here would hold.
    "DROP INDEX notify.schedule_channel_not_before_idx",
    "CREATE INDEX delivery_by_state ON notify.delivery (workspace_id, channel, state, seq)",
    "CREATE INDEX schedule_in_order ON notify.schedule (channel, not_before, seq)",
    "CREATE INDEX schedule_by_lane ON notify.schedule (channel, lane, not_before, seq)",
    "CREATE INDEX schedule_by_workspace ON notify.schedule (workspace_id, channel, not_before)",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
