"""Chooses the event log's engine by its address."""

from libs.common.errors import NotStarted
from libs.common.event_log import APPEND_SECONDS, EventLog
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.log import KafkaEventLog
from libs.common.event_log_postgres.log import PostgresEventLog


def event_log(
    url: str,
    *,
    name: str,
    retention_days: int = 7,
    kafka: KafkaAccess | None = None,
    append_seconds: float = APPEND_SECONDS,
) -> EventLog:
    """The log at ``url``, not yet open: postgresql://… or kafka://host:port[,host:port], to which ``kafka`` says how
    to get in. ``name`` says in the engine's own tools who we are; an append has ``append_seconds`` to be durable.

    Raises NotStarted when no engine understands the address.
    """
    if url.startswith("postgresql://"):
        return PostgresEventLog(url, name=name, retention_days=retention_days, append_seconds=append_seconds)
    if url.startswith("kafka://"):
        return KafkaEventLog(url, kafka or KafkaAccess(), name=name, append_seconds=append_seconds)
    raise NotStarted("The address of the event log must begin with postgresql:// or kafka://; correct KIZASHI_LOG_URL.")
