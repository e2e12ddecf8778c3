"""Chooses the event log's engine by its address."""

from libs.common.event_log import EventLog
from libs.common.event_log_postgres import PostgresEventLog


def event_log(url: str, *, name: str, retention_days: int = 7) -> EventLog:
    """The log at ``url`` (postgresql://…), not yet open. ``name`` says in the engine's own tools who we are."""
    return PostgresEventLog(url, name=name, retention_days=retention_days)
