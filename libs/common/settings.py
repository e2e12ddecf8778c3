"""Settings that every process has, read from the environment once, in ``app.py``, and handed down."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.clock import Clock, DeclaredClock, WallClock
from libs.common.database_urls import with_password
from libs.common.errors import NotStarted
from libs.common.event_log_kafka.access import KafkaAccess, SaslMechanism, brokers_of
from libs.common.secret_files import PREFIX, secrets_by_file

SERVICES = ("ingest", "health", "playbook", "notify")
OTHER_PREFIXES = ("local", "owner", "cli")
"""Of variables that tools read, not services: KIZASHI_LOCAL_… of `make run`, KIZASHI_OWNER_DATABASE_URL,
KIZASHI_CLI_… of the `kizashi` command."""
HOME_VARIABLE = f"{PREFIX}HOME"
"""Of `make run`, and of the `kizashi` command beside it."""


class CommonSettings(BaseSettings):
    """The environment variables that all services understand, each with the prefix ``KIZASHI_``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    secrets_dir: Path | None = Field(default=None, description="a folder of files, each named like a variable")
    database_password: SecretStr | None = Field(default=None, description="of the user in the address of the database")
    database_url: SecretStr = Field(
        description="postgresql://user@host/database; the user may take every service's roles"
    )
    log_url: SecretStr | None = Field(
        default=None, description="the event log, kafka://host:port[,host:port]; without it, the same PostgreSQL"
    )
    log_tls: bool = Field(default=False, description="whether to talk to Kafka by TLS")
    log_ca_file: Path | None = Field(default=None, description="who signed Kafka's certificate; else the system's list")
    log_username: str = Field(default="", description="of the login to Kafka; without it, none")
    log_password: SecretStr = SecretStr("")
    log_sasl_mechanism: SaslMechanism = "scram-sha-512"
    config_dir: Path = Field(default=Path("config"), description="health models, segments, playbooks, templates")
    host: str = Field(default="127.0.0.1", description="the address to listen on")
    environment: Literal["production", "demo", "test"] = "production"
    domain_clock_file: Path | None = Field(default=None, description="declares another domain time; demo and test only")
    logging_level: Literal["debug", "info", "warning", "error"] = "info"
    log_retention_days: int = Field(default=7, ge=1, le=7, description="of the event log; the claim window is 7 days")
    failpoints: str = Field(default="", description="name[:nth][=freeze],… where to die or freeze; demo and test only")

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith("postgresql://"):
            raise ValueError("must begin with postgresql://")
        return url

    @field_validator("log_url")
    @classmethod
    def _is_an_event_log(cls, url: SecretStr | None) -> SecretStr | None:
        address = url.get_secret_value() if url else "postgresql://"
        if not address.startswith(("postgresql://", "kafka://")):
            raise ValueError("must begin with postgresql:// or kafka://")
        if address.startswith("kafka://"):
            try:
                brokers_of(address)
            except NotStarted as problem:
                raise ValueError(str(problem)) from problem
        return url

    @field_validator("database_url")
    @classmethod
    def _with_its_password(cls, url: SecretStr, others: ValidationInfo) -> SecretStr:
        password = others.data.get("database_password")
        return SecretStr(with_password(url.get_secret_value(), password.get_secret_value())) if password else url

    @property
    def event_log_url(self) -> str:
        return (self.log_url or self.database_url).get_secret_value()

    @property
    def kafka_access(self) -> KafkaAccess:
        """How to get into the event log when it is Kafka."""
        return KafkaAccess(
            locks_url=self.database_url.get_secret_value(),
            tls=self.log_tls,
            ca_file=self.log_ca_file,
            username=self.log_username,
            password=self.log_password.get_secret_value(),
            sasl_mechanism=self.log_sasl_mechanism,
        )

    def clock(self) -> Clock:
        """The domain clock. Raises NotStarted when production is told to declare one."""
        if self.domain_clock_file is None:
            return WallClock()
        if self.environment == "production":
            raise NotStarted(
                "KIZASHI_DOMAIN_CLOCK_FILE declares another time, which only a demo or a test may do; "
                "unset it, or set KIZASHI_ENVIRONMENT=demo."
            )
        return DeclaredClock(self.domain_clock_file)


S = TypeVar("S", bound=CommonSettings)


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a variable, in a sentence that says what to do."""

    variable: str
    sentence: str


def load(settings_class: type[S], service: str | None = None) -> S:
    """Read settings from the environment, and from files where KIZASHI_SECRETS_DIR names their folder.

    Raises NotStarted with one sentence naming the variable at fault.
    """
    settings, mistakes = read(settings_class, service)
    if settings is None or mistakes:
        raise NotStarted(mistakes[0].sentence)
    return settings


def read(settings_class: type[S], service: str | None = None) -> tuple[S | None, Sequence[Mistake]]:
    """The settings, None when one of them is wrong, and every mistake in the environment.

    A variable that begins with the prefix and that nobody knows is a misspelling, hence a mistake; those of other
    services are theirs to check. Raises NotStarted when the folder of secrets cannot be read.
    """
    known = {variable_of(settings_class, name): name for name in settings_class.model_fields}
    others = (*(f"{PREFIX}{name.upper()}_" for name in (*SERVICES, *OTHER_PREFIXES) if name != service), HOME_VARIABLE)
    secrets = secrets_by_file()
    mistakes = [
        unknown(variable)
        for variable in sorted({*os.environ, *secrets})
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(others)
    ]
    try:
        by_file: dict[str, Any] = {known[variable]: value for variable, value in secrets.items() if variable in known}
        return settings_class(**by_file), mistakes
    except ValidationError as exc:
        return None, [*mistakes, *(_mistake(settings_class, known, error) for error in exc.errors())]


def unknown(variable: str) -> Mistake:
    return Mistake(
        variable, f"{variable} is not a setting of Kizashi; correct or unset it (the settings are in .env.example)."
    )


def _mistake(settings_class: type[CommonSettings], known: Mapping[str, str], error: Any) -> Mistake:
    name = str(error["loc"][0]) if error["loc"] else ""
    problem = "is not set" if error["type"] == "missing" else f"is not valid: {error['msg']}"
    variable = name if name in known else variable_of(settings_class, name)  # an alias is named as it is
    return Mistake(variable, f"{variable} {problem}; see .env.example.")


def variable_of(settings_class: type[CommonSettings], field: str) -> str:
    """The environment variable of a setting."""
    found = settings_class.model_fields.get(field)
    if found is not None and isinstance(found.validation_alias, str):
        return found.validation_alias.upper()
    return f"{PREFIX}{field}".upper()
