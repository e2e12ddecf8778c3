"""The topics of the event log on Kafka: there, whole, led by somebody, and set up so that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from cli.doctor.findings import Finding, ok, problem, warning
from libs.common.event_log_kafka.identity import Cluster
from libs.common.event_log_kafka.seal import SEALED
from libs.common.event_log_kafka.topic_settings import DAY_MILLISECONDS, MAX_MESSAGE_BYTES, REPLICAS
from libs.common.topics import PARTITIONS

JUDGED = (
    "cleanup.policy",
    "retention.ms",
    "message.timestamp.type",
    "max.message.bytes",
    "min.insync.replicas",
    "unclean.leader.election.enable",
)
Settings = Mapping[str, Mapping[str, str]]
ALTER = "Set it with Kafka's kafka-configs tool; `kizashi log create` leaves topics that are there as they are."


def judge(cluster: Cluster, names: Sequence[str], settings: Settings | None, retention_days: int) -> Iterator[Finding]:
    """``settings`` is None where we may not ask for them."""
    found = [*_judge_topics(cluster, names)]
    if settings is None:
        found.append(
            warning(
                "topics_unseen",
                "Kafka does not let us see how the topics are set up.",
                "Allow this user to describe the configuration of the topics (DescribeConfigs).",
            )
        )
    else:
        found += _judge_settings(settings, retention_days, cluster.brokers)
    yield from found
    if not found:
        yield ok(
            "topics", f"All {len(names)} topics are there, with {PARTITIONS} partitions and {retention_days} days each."
        )


def _judge_topics(cluster: Cluster, names: Sequence[str]) -> Iterator[Finding]:
    if missing := [name for name in names if name not in cluster.topics]:
        yield problem(
            "topics_missing",
            f"Kafka has no topic {', '.join(missing)}.",
            "Make what is missing with `kizashi log create`, or correct KIZASHI_LOG_URL if it names another Kafka.",
        )
    for name, topic in sorted(cluster.topics.items()):
        if len(topic.leaders) != PARTITIONS:
            yield problem(
                "topic_partitions",
                f"The topic {name} has {len(topic.leaders)} partitions where this release needs {PARTITIONS}: a key "
                "must not change its partition.",
                "If it holds nothing of worth, delete it and make it with `kizashi log create`.",
            )
        if orphans := [number for number, leader in sorted(topic.leaders.items()) if leader is None]:
            yield problem(
                "topic_leaderless",
                f"Nobody leads {name}/{', '.join(map(str, orphans))}: it can be neither written nor read.",
                "Start the brokers that hold it.",
            )


def _judge_settings(settings: Settings, retention_days: int, brokers: int) -> Iterator[Finding]:
    wanted = retention_days * DAY_MILLISECONDS
    if sealed := _topics(settings, "max.message.bytes", lambda value: int(value) == SEALED):
        yield problem(
            "log_moved",
            f"The event log on this Kafka was moved away: {sealed[0].lower()}{sealed[1:]} take no record any more.",
            "Set KIZASHI_LOG_URL to where it is now; `kizashi log move` brings it back.",
        )
    elif small := _topics(settings, "max.message.bytes", lambda value: int(value) < MAX_MESSAGE_BYTES):
        yield problem(
            "topic_message_bytes",
            f"{small} refuse records that Kizashi may write: max.message.bytes is below {MAX_MESSAGE_BYTES}.",
            ALTER,
        )
    if compacted := _topics(settings, "cleanup.policy", lambda value: value != "delete"):
        yield problem(
            "topic_compacted",
            f"{compacted} have another cleanup.policy than delete: records are dropped that nobody has read.",
            ALTER,
        )
    if short := _topics(settings, "retention.ms", lambda value: 0 <= int(value) < wanted):
        yield warning(
            "topic_retention",
            f"{short} keep records for less than the {retention_days} days of KIZASHI_LOG_RETENTION_DAYS: a service "
            "that is away for longer loses them.",
            f"{ALTER} (retention.ms={wanted})",
        )
    if long := _topics(settings, "retention.ms", lambda value: not 0 <= int(value) <= wanted):
        yield warning(
            "topic_retention",
            f"{long} keep records for more than the {retention_days} days of KIZASHI_LOG_RETENTION_DAYS: what is read "
            "again after its claim is forgotten counts twice.",
            f"{ALTER} (retention.ms={wanted})",
        )
    if senders := _topics(settings, "message.timestamp.type", lambda value: value != "LogAppendTime"):
        yield warning(
            "topic_timestamps",
            f"{senders} go by the senders' clocks: lag in seconds and retention are as wrong as those.",
            f"{ALTER} (message.timestamp.type=LogAppendTime)",
        )
    if unclean := _topics(settings, "unclean.leader.election.enable", lambda value: value == "true"):
        yield warning(
            "topic_unclean",
            f"{unclean} may lose acknowledged records when a broker is lost (unclean.leader.election.enable).",
            ALTER,
        )
    if brokers >= REPLICAS and (lonely := _topics(settings, "min.insync.replicas", lambda value: int(value) < 2)):
        yield warning(
            "topic_insync",
            f"{lonely} acknowledge what one broker alone has (min.insync.replicas), though there are {brokers}.",
            ALTER,
        )


def _topics(settings: Settings, setting: str, is_wrong: Callable[[str], bool]) -> str:
    """Those whose setting is wrong: «The topics kizashi.health, kizashi.touches»; empty when there is none."""
    wrong = sorted(name for name, values in settings.items() if is_wrong(values[setting]))
    if len(wrong) == len(settings) > 1:
        return "All topics"
    return f"The topics {', '.join(wrong)}" if wrong else ""
