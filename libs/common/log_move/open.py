"""Chooses by a log's address how a move sees it."""

from __future__ import annotations

from dataclasses import replace

from libs.common.errors import NotStarted
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_open import event_log
from libs.common.event_log_postgres.session import ROLE
from libs.common.log_move.kafka import KafkaLog
from libs.common.log_move.logs import NAME, MovableLog
from libs.common.log_move.move import Destination
from libs.common.log_move.postgres import PostgresLog, place_of


def origin(url: str, owner_url: str, access: KafkaAccess) -> MovableLog:
    """The log to leave. One in the services' own database is left as the database's owner, whatever login was given.

    Raises NotStarted when no engine understands the address.
    """
    if url.startswith("postgresql://"):
        return PostgresLog(owner_url if place_of(url) == place_of(owner_url) else url)
    if url.startswith("kafka://"):
        return KafkaLog(url, access)
    raise NotStarted("The address of a log begins with postgresql:// or kafka://; correct --from.")


def destination(url: str, owner_url: str, access: KafkaAccess) -> Destination:
    """The log to move to. ``access`` is for Kafka on either side. Raises NotStarted."""
    log = event_log(url, name=NAME, kafka=replace(access, locks_url=owner_url))
    if url.startswith("kafka://"):
        return Destination(log, KafkaLog(url, access))
    own = place_of(url) == place_of(owner_url)
    return Destination(log, PostgresLog(owner_url) if own else PostgresLog(url, ROLE))
