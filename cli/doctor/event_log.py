"""The event log on either engine: whether it answers, and what it says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from cli.doctor import kafka_topics
from cli.doctor.configuration import InstallationSettings
from cli.doctor.findings import Finding, Level, ok, problem
from libs.common.database_urls import place_of
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import Places
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import KafkaClient
from libs.common.event_log_kafka.identity import describe
from libs.common.event_log_kafka.places import Places as KafkaPlaces
from libs.common.event_log_kafka.topic_settings import ask_settings
from libs.common.event_log_postgres.places import Places as PostgresPlaces
from libs.common.event_log_postgres.session import READING, LogSession
from libs.common.topics import PARTITIONS, Topic

NAME = "kizashi doctor"


@dataclass(frozen=True)
class Log:
    """``places`` is None when nothing can be known of its topics."""

    places: Places | None
    findings: Sequence[Finding]


@asynccontextmanager
async def looked_at(settings: InstallationSettings) -> AsyncIterator[Log]:
    """Never raises by itself."""
    if settings.event_log_url.startswith("kafka://"):
        async with _on_kafka(settings) as log:
            yield log
    else:
        async with _on_postgres(settings) as log:
            yield log


@asynccontextmanager
async def _on_postgres(settings: InstallationSettings) -> AsyncIterator[Log]:
    session = LogSession(settings.event_log_url, NAME, READING)
    places = PostgresPlaces(session)
    try:
        await places.meet()
    except (NotStarted, RetryLater) as exc:
        yield Log(None, [_no_answer(exc, "start PostgreSQL, or correct the address")])
    else:
        yield Log(
            places,
            [
                ok(
                    "log",
                    f"The event log is in PostgreSQL at {place_of(settings.event_log_url)}: {PARTITIONS} partitions of "
                    f"each topic, and records are kept for {settings.log_retention_days} days at least.",
                )
            ],
        )
    finally:
        session.close()


@asynccontextmanager
async def _on_kafka(settings: InstallationSettings) -> AsyncIterator[Log]:
    try:
        client = KafkaClient(settings.kafka_access.client_arguments(settings.event_log_url), NAME)
    except NotStarted as exc:
        yield Log(None, [_no_answer(exc)])
        return
    try:
        findings = await _topics(client, settings)
        whole = not any(finding.level is Level.PROBLEM for finding in findings)
        yield Log(KafkaPlaces(client, settings.kafka_access) if whole else None, findings)
    finally:
        await client.close()


async def _topics(client: KafkaClient, settings: InstallationSettings) -> Sequence[Finding]:
    access: KafkaAccess = settings.kafka_access
    names = [access.name_of(topic) for topic in Topic]
    try:
        cluster = await client.ask(partial(describe, names=names))
        there = sorted(cluster.topics)
        found = await client.ask(partial(ask_settings, names=there, settings=kafka_topics.JUDGED)) if there else {}
    except (NotStarted, RetryLater) as exc:
        return [_no_answer(exc, "start Kafka, or correct KIZASHI_LOG_URL")]
    brokers = "1 broker" if cluster.brokers == 1 else f"{cluster.brokers} brokers"
    answers = ok("log", f"The event log is on Kafka at {settings.event_log_url}, cluster {cluster.id}, {brokers}.")
    return [answers, *kafka_topics.judge(cluster, names, found, settings.log_retention_days)]


def _no_answer(exc: NotStarted | RetryLater, remedy: str = "") -> Finding:
    """A refusal says by itself what to do."""
    if isinstance(exc, NotStarted):
        return problem("log", str(exc))
    sentence = str(exc)
    return problem("log", f"{sentence[:1].upper()}{sentence[1:]}.", f"{remedy[:1].upper()}{remedy[1:]}.")
