"""kizashi log create: makes the event log's topics on Kafka. It needs no service, since none starts without them."""

from __future__ import annotations

import asyncio

import click
from pydantic import Field, SecretStr

from cli.printing import line
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log_kafka.topics import create_topics
from libs.common.settings import CommonSettings, load


class _LogSettings(CommonSettings):
    """Those of the services, of which only the log's are needed here."""

    database_url: SecretStr = Field(default=SecretStr("postgresql://"), validate_default=False)


@click.command("create")
@click.option(
    "--replicas",
    metavar="N",
    type=click.IntRange(min=1),
    help="Copies of each partition; else 3, or one for each broker if there are fewer.",
)
def create(replicas: int | None) -> None:
    """Make the topics of the event log on Kafka where they are missing.

    Reads KIZASHI_LOG_URL and the other KIZASHI_LOG_… variables, as the services do. Topics that are there stay as they
    are, their retention included; `kizashi doctor` says whether they are as they should be.

    \b
    Example:
      KIZASHI_LOG_URL=kafka://broker:9092 kizashi log create
    """
    try:
        settings = load(_LogSettings)
        if not settings.event_log_url.startswith("kafka://"):
            line(
                "The event log is in PostgreSQL, where the migrations make it (python -m libs.common.migrate); "
                "KIZASHI_LOG_URL=kafka://host:port puts it on Kafka."
            )
            return
        made = asyncio.run(
            create_topics(
                settings.event_log_url,
                settings.kafka_access,
                retention_days=settings.log_retention_days,
                replicas=replicas,
            )
        )
    except NotStarted as problem:
        raise click.ClickException(str(problem)) from problem
    except RetryLater as problem:
        raise click.ClickException(f"{problem}; start Kafka, or correct KIZASHI_LOG_URL.") from problem
    for name in made.made:
        line(f"made {name}")
    if made.made:
        line(
            f"{len(made.made)} topics made, {settings.log_retention_days} days of retention, {made.replicas} replicas."
        )
    if made.were_there:
        line(f"{len(made.were_there)} topics were there and stay as they are.")
