"""Chooses the event log's engine by its address."""

from libs.common.errors import NotStarted
from libs.common.event_log import EventLog
from libs.common.event_log_postgres import PostgresEventLog


def event_log(url: str, *, name: str, retention_days: int = 7) -> EventLog:
    """The log at ``url`` (postgresql://…), not yet open. ``name`` says in the engine's own tools who we are.

    Raises NotStarted when no engine understands the address.
    """
    if not url.startswith("postgresql://"):
        raise NotStarted("The address of the event log must begin with postgresql://; correct KIZASHI_LOG_URL.")
    return PostgresEventLog(url, name=name, retention_days=retention_days)
