"""Where the event log of a test is, in one word that a process of its own can be told on the command line."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from libs.common.event_log import EventLog
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_open import event_log


@dataclass(frozen=True)
class LogAddress:
    """``locks_url`` and ``topic_prefix`` count on Kafka only."""

    url: str
    locks_url: str = ""
    topic_prefix: str = ""

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> LogAddress:
        return msgspec.json.decode(text, type=cls)

    @property
    def kafka(self) -> KafkaAccess:
        return KafkaAccess(locks_url=self.locks_url, topic_prefix=self.topic_prefix)

    def log(self, name: str) -> EventLog:
        """Not yet open."""
        return event_log(self.url, name=name, kafka=self.kafka)
