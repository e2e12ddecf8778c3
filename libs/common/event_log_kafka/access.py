"""How a process reaches a Kafka cluster: its address, TLS and login, and the PostgreSQL by which members share it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from libs.common.errors import NotStarted
from libs.common.topics import Topic

SaslMechanism = Literal["scram-sha-512", "scram-sha-256", "plain"]

_ADDRESS = re.compile(r"kafka://([^/?#@]+)")
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,\[\]]+):(\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class KafkaAccess:
    """``locks_url`` is the PostgreSQL whose advisory locks share partitions among the members of a group; a process
    that only appends needs none. Without ``username`` nobody logs in; ``ca_file`` counts only with ``tls``."""

    locks_url: str = field(default="", repr=False)
    tls: bool = False
    ca_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    sasl_mechanism: SaslMechanism = "scram-sha-512"
    topic_prefix: str = "kizashi."

    def name_of(self, topic: Topic) -> str:
        """What the topic is called on a cluster that others use too."""
        return f"{self.topic_prefix}{topic.value}"

    def client_arguments(self, url: str) -> Mapping[str, Any]:
        """What every client of aiokafka is made with. Raises NotStarted when the address or the CA file is no good."""
        arguments: dict[str, Any] = {"bootstrap_servers": brokers_of(url)}
        if self.tls:
            arguments["ssl_context"] = self._tls_context()
        if self.username:
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism.upper(),
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        arguments["security_protocol"] = {
            (False, False): "PLAINTEXT",
            (True, False): "SSL",
            (False, True): "SASL_PLAINTEXT",
            (True, True): "SASL_SSL",
        }[self.tls, bool(self.username)]
        return arguments

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as exc:  # ssl.SSLError is one
            raise NotStarted(
                f"The certificates in {self.ca_file} cannot be read ({exc.strerror or exc}); correct "
                "KIZASHI_LOG_CA_FILE, a PEM file with the authority that signed Kafka's certificate."
            ) from exc


def brokers_of(url: str) -> Sequence[str]:
    """The ``host:port`` of each broker in kafka://host:port[,host:port]. Raises NotStarted when it is no such address.

    Never tells the address back: people put passwords into addresses.
    """
    found = _ADDRESS.fullmatch(url)
    brokers = found[1].split(",") if found else []
    if not brokers or not all((broker := _BROKER.fullmatch(one)) and 0 < int(broker[2]) < 65536 for one in brokers):
        raise NotStarted(
            "The address of a Kafka event log is kafka://host:port[,host:port], each with its port and nothing behind "
            "it; correct KIZASHI_LOG_URL (a login goes into KIZASHI_LOG_USERNAME and KIZASHI_LOG_PASSWORD)."
        )
    return brokers
