"""The environment variables of ``make run``, ``make demo`` and ``make kafka``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from deploy.local.kafka_jars import DEFAULT_FOLDER
from libs.common.errors import NotStarted
from libs.common.settings import CommonSettings, load

PROCESSES = ("ingest", "health", "playbook", "notify", "inbox")
"""Those that listen, in the order of their ports."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

OF_A_BROKER = {"log_tls", "log_ca_file", "log_username", "log_password", "log_sasl_mechanism"}

Port = Annotated[int, Field(ge=1, le=65535)]


class LocalSettings(CommonSettings):
    """What the local installation decides by itself (database, log, clock, environment) is not for others to set."""

    database_url: SecretStr = Field(default=SecretStr("postgresql:// of its own"), validate_default=False)
    home: Path = Field(default=Path(".kizashi"), description="where data, logs and run.json live")
    demo: bool = Field(default=True, validation_alias="DEMO", description="0: no product, no declared clock")
    log: Literal["postgres", "kafka"] | None = Field(
        default=None, validation_alias="LOG", description="the event log's engine; without it, as KIZASHI_LOG_URL says"
    )
    local_port: Annotated[int, Field(ge=1, le=65531)] = Field(default=8080, description="the first of five")
    local_ingest_port: Port | None = None
    local_health_port: Port | None = None
    local_playbook_port: Port | None = None
    local_notify_port: Port | None = None
    local_inbox_port: Port | None = None
    local_smtp_port: Port | None = Field(default=None, description="of the inbox; a free one if not set")
    local_kafka_port: Port | None = Field(default=None, description="if not set: make kafka 9092, make run a free one")
    local_kafka_jars: Path = Field(default=DEFAULT_FOLDER, description="Kafka's jars, fetched once for all homes")
    local_day_seconds: float = Field(default=2.0, ge=0.5, le=3600, description="that a day of the demo's story takes")
    local_end_weekday: str | None = Field(
        default=None,
        pattern=f"^({'|'.join(WEEKDAYS)})$",
        description="of make demo: the story ends on the last such day instead of today",
    )

    @property
    def brings_a_broker(self) -> bool:
        """Whether the installation starts a Kafka broker of its own."""
        return self.log == "kafka" and self.log_url is None

    def ports(self) -> dict[str, int]:
        """The port of each process that listens. Raises NotStarted when two would share one."""
        chosen = {
            name: getattr(self, f"local_{name}_port") or self.local_port + place for place, name in enumerate(PROCESSES)
        }
        for name, port in chosen.items():
            same = [other for other, its in chosen.items() if its == port and other != name]
            if same:
                raise NotStarted(f"{name} and {same[0]} would both listen on port {port}; set KIZASHI_LOCAL_…_PORT.")
        return chosen

    def url(self, port: int) -> str:
        """How a program on this machine reaches a port."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::', '') else self.host}:{port}"  # noqa: S104


def load_settings() -> LocalSettings:
    """Raises NotStarted with one sentence, also for what only another kind of installation may set."""
    settings = load(LocalSettings, "local")
    for name in ("secrets_dir", "database_url", "database_password", "environment", "domain_clock_file", "failpoints"):
        if name in settings.model_fields_set:
            raise NotStarted(
                f"KIZASHI_{name.upper()} is set, but an installation on one machine decides that itself; unset it."
            )
    _check_the_log(settings)
    return settings


def _check_the_log(settings: LocalSettings) -> None:
    if settings.log_url is None:
        for name in sorted(OF_A_BROKER & settings.model_fields_set):
            raise NotStarted(
                f"KIZASHI_{name.upper()} is set, which is about a Kafka broker that exists already, but "
                "KIZASHI_LOG_URL does not say which; set it, or unset the other."
            )
    elif not settings.log_url.get_secret_value().startswith("kafka://"):
        raise NotStarted(
            "KIZASHI_LOG_URL is set, but an installation on one machine has its event log in its own PostgreSQL, or on "
            "Kafka: unset it, or name a broker (kafka://host:port)."
        )
    elif settings.log == "postgres":
        raise NotStarted("LOG=postgres is given, but KIZASHI_LOG_URL names a Kafka broker; unset one of the two.")
