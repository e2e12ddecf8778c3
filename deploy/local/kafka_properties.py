"""How our single broker is set up: one process that is broker and controller, loopback only, no topic by accident."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PLAIN, GUARDED, CONTROLLER = "PLAINTEXT", "SASL_SSL", "CONTROLLER"

LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd HH:mm:ss.SSS} %p %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""

_ALONE = """\
# One node holds everything, also Kafka's own topics, which are small here.
process.roles=broker,controller
node.id=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
# After kill -9 the controller takes the broker for alive until its session ends, and lets no other one in.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
# Retention is looked after in minutes, and a small heap has no room for the cleaner's 128 MB.
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
"""
_DURABLE = """\
# With no second copy, only what is on the disk survives a power failure.
log.flush.interval.messages=1
"""
_GUARDED = """\
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram} required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram} required;
listener.name.sasl_ssl.plain.sasl.jaas.config={plain} required user_{username}="{password}";
"""
_LOGIN_MODULES = {
    "scram": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "plain": "org.apache.kafka.common.security.plain.PlainLoginModule",
}


@dataclass(frozen=True)
class Guard:
    """A second listener, with TLS and passwords. ``certificate`` and ``key`` are PEM files (PKCS 8, no passphrase)."""

    certificate: Path
    key: Path
    username: str = "kizashi"
    password: str = "only-on-loopback"  # noqa: S105 of a broker that nobody else can reach

    @property
    def scram(self) -> list[str]:
        """How the user is made when the data folder is."""
        secret = f"[name={self.username},password={self.password}]"
        return ["--add-scram", f"SCRAM-SHA-512={secret}", "--add-scram", f"SCRAM-SHA-256={secret}"]


@dataclass(frozen=True)
class Ports:
    """``guarded`` is 0 where there is no second listener."""

    plain: int
    controller: int
    guarded: int = 0

    @property
    def listeners(self) -> dict[str, int]:
        named = {PLAIN: self.plain, GUARDED: self.guarded, CONTROLLER: self.controller}
        return {name: port for name, port in named.items() if port}


def properties(ports: Ports, data: Path, keystore: Path, guard: Guard | None, durable: bool) -> str:
    """The text of ``server.properties``."""
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.listeners.items())
    protocols = ",".join(f"{name}:{PLAIN if name == CONTROLLER else name}" for name in ports.listeners)
    text = (
        f"listeners={listeners}\n"
        f"listener.security.protocol.map={protocols}\n"
        f"controller.listener.names={CONTROLLER}\n"
        f"controller.quorum.voters=1@127.0.0.1:{ports.controller}\n"
        f"inter.broker.listener.name={PLAIN}\n"
        f"log.dirs={_escaped(data)}\n{_ALONE}"
    )
    if durable:
        text += _DURABLE
    if guard is not None:
        text += _GUARDED.format(
            keystore=_escaped(keystore), username=guard.username, password=guard.password, **_LOGIN_MODULES
        )
    return text


def _escaped(path: Path) -> str:
    """Java reads property files as Latin 1, with everything else written as UTF-16 units."""
    units = str(path).replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[n : n + 2]) for n in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def ports_in(text: str) -> Ports:
    """The ports that ``properties`` was told."""
    found = {name: int(port) for name, port in re.findall(r"(\w+)://127\.0\.0\.1:(\d+)", text)}
    return Ports(plain=found[PLAIN], controller=found[CONTROLLER], guarded=found.get(GUARDED, 0))
