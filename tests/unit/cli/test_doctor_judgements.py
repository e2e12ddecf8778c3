"""What `kizashi doctor` makes of what it was told, without anybody to ask."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from cli.doctor import deliveries, domain_clock, kafka_topics, readiness, reading, server, workspaces
from cli.doctor.deliveries import Mode
from cli.doctor.findings import Area, Finding, Level, Report, ok, problem, warning
from cli.doctor.readiness import Answer
from cli.doctor.reading import Backlog, Standing
from cli.doctor.server import ROLES, Server
from cli.doctor.surroundings import Address
from cli.doctor.workspaces import Source
from libs.common.database_urls import place_of
from libs.common.event_log_kafka.identity import Cluster, KnownTopic
from libs.common.event_log_kafka.topic_settings import settings_of_topics
from libs.common.log_view import PartitionView
from libs.common.topics import PARTITIONS, Topic

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def troubles(findings: Iterable[Finding]) -> list[tuple[Level, str]]:
    return [(one.level, one.code) for one in findings if one.level is not Level.OK]


# --- PostgreSQL ---

SERVER = Server(
    place="db:5432/kizashi",
    login="kizashi",
    version="18.1",
    version_number=180_001,
    is_superuser=False,
    roles=dict.fromkeys(ROLES, True),
    off=(),
    ahead=timedelta(),
    round_trip=timedelta(milliseconds=2),
)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (SERVER, []),
        (replace(SERVER, version_number=160_004), [(Level.PROBLEM, "postgres_old")]),
        (replace(SERVER, off=["fsync"]), [(Level.WARNING, "postgres_forgets")]),
        (replace(SERVER, is_superuser=True), [(Level.WARNING, "login_superuser")]),
        (replace(SERVER, roles={}), [(Level.PROBLEM, "roles_missing")]),
        (replace(SERVER, roles=dict.fromkeys(ROLES, False)), [(Level.PROBLEM, "roles_barred")]),
    ],
    ids=["fine", "old", "forgets", "superuser", "no roles", "barred"],
)
def test_a_server(found: Server, expected: list[tuple[Level, str]]) -> None:
    assert troubles(server.judge(found)) == expected


@pytest.mark.parametrize(
    ("ahead", "round_trip", "level", "says"),
    [
        (0.1, 0.01, Level.OK, "agree"),
        (-20, 0.01, Level.WARNING, "20 s behind"),
        (90, 0.01, Level.PROBLEM, "90 s ahead of"),
        (3, 4, Level.OK, "agree"),  # a slow answer tells nothing finer than itself
    ],
)
def test_clocks(ahead: float, round_trip: float, level: Level, says: str) -> None:
    found = replace(SERVER, ahead=timedelta(seconds=ahead), round_trip=timedelta(seconds=round_trip))
    judged = server.judge_clock(found)
    assert judged.level is level
    assert says in judged.sentence


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://kizashi:secret@db:5432/kizashi", "db:5432/kizashi"),
        ("postgresql://kizashi@/kizashi?host=%2Frun%2Fpg&password=secret", "/run/pg/kizashi"),
        ("postgresql://kizashi@localhost/kizashi", "localhost/kizashi"),
        ("postgresql://kizashi:12/secret@db:5432/kizashi", "db:5432/kizashi"),
        ("postgresql://kizashi:se#cret?@db/kizashi", "db/kizashi"),
        ("postgresql://kizashi:sec@secret@db/kizashi", "db/kizashi"),
        ("postgresql://kizashi:secret@db:secret/kizashi", "the address that is set"),
        ("secret", "the address that is set"),
    ],
)
def test_a_place_holds_no_secret(url: str, place: str) -> None:
    assert place_of(url) == place


# --- Kafka's topics ---

NAMES = ["kizashi.health", "kizashi.touches"]
LED = KnownTopic(uuid.UUID(int=1), dict.fromkeys(range(PARTITIONS), 1))
CLUSTER = Cluster("cluster", 3, dict.fromkeys(NAMES, LED))
SET_UP = {key: dict(settings_of_topics(7, 3)) for key in NAMES}


def test_topics_as_they_should_be() -> None:
    [finding] = kafka_topics.judge(CLUSTER, NAMES, SET_UP, 7)
    assert finding == ok("topics", "All 2 topics are there, with 12 partitions and 7 days each.")


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (KnownTopic(LED.id, {0: 1}), "topic_partitions"),
        (KnownTopic(LED.id, {**LED.leaders, 3: None, 5: None}), "topic_leaderless"),
    ],
)
def test_a_topic_that_cannot_be_used(topic: KnownTopic, code: str) -> None:
    cluster = replace(CLUSTER, topics={**CLUSTER.topics, "kizashi.health": topic})
    [finding] = kafka_topics.judge(cluster, NAMES, SET_UP, 7)
    assert (finding.level, finding.code) == (Level.PROBLEM, code)
    assert "kizashi.health" in finding.sentence


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("cleanup.policy", "compact", (Level.PROBLEM, "topic_compacted")),
        ("max.message.bytes", "0", (Level.PROBLEM, "log_moved")),
        ("max.message.bytes", "1000", (Level.PROBLEM, "topic_message_bytes")),
        ("retention.ms", "3600000", (Level.WARNING, "topic_retention")),
        ("retention.ms", "-1", (Level.WARNING, "topic_retention")),
        ("message.timestamp.type", "CreateTime", (Level.WARNING, "topic_timestamps")),
        ("unclean.leader.election.enable", "true", (Level.WARNING, "topic_unclean")),
        ("min.insync.replicas", "1", (Level.WARNING, "topic_insync")),
    ],
)
def test_a_topic_that_is_set_up_otherwise(setting: str, value: str, expected: tuple[Level, str]) -> None:
    settings = {**SET_UP, "kizashi.touches": {**SET_UP["kizashi.touches"], setting: value}}
    [finding] = kafka_topics.judge(CLUSTER, NAMES, settings, 7)
    assert (finding.level, finding.code) == expected
    assert "topics kizashi.touches " in finding.sentence


def test_one_broker_cannot_do_better_than_one_copy() -> None:
    settings = {key: {**SET_UP["kizashi.health"], "min.insync.replicas": "1"} for key in NAMES}
    assert troubles(kafka_topics.judge(replace(CLUSTER, brokers=1), NAMES, settings, 7)) == []


def test_settings_that_we_may_not_see() -> None:
    assert troubles(kafka_topics.judge(CLUSTER, NAMES, None, 7)) == [(Level.WARNING, "topics_unseen")]


# --- reading ---


def partition(**changes: object) -> PartitionView:
    view = PartitionView(
        topic=Topic.TOUCHES,
        partition=0,
        position=5,
        log_identity="this",
        earliest=0,
        end=5,
        lag_records=0,
        lag_seconds=0,
        caught_up_to=None,
        stopped=None,
    )
    return view.model_copy(update=changes)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (partition(), []),
        (partition(lag_records=9, lag_seconds=4), []),
        (partition(lag_records=9, lag_seconds=300), [(Level.WARNING, "lag")]),
        (partition(lag_records=9, lag_seconds=7200), [(Level.PROBLEM, "lag")]),
        (partition(position=None, log_identity=None), []),
        (partition(log_identity="another", lag_seconds=7200), [(Level.PROBLEM, "another_log")]),
    ],
    ids=["fine", "busy", "late", "too late", "new", "another log"],
)
def test_a_reader(view: PartitionView, expected: list[tuple[Level, str]]) -> None:
    assert troubles(reading.judge_standing(Standing("notify", {Topic.TOUCHES: "this"}, [view]))) == expected


def test_many_stopped_partitions_are_not_all_told() -> None:
    stop = {"cause": "breaker", "why": "It stopped.", "way_out": "Go on."}
    views = [PartitionView.model_validate({**partition().model_dump(), "stopped": stop})] * 5
    found = list(reading.judge_standing(Standing("notify", {Topic.TOUCHES: "this"}, views)))
    assert [code for _, code in troubles(found)] == ["stopped_breaker"] * 3 + ["stopped_more"]
    assert "2 more" in found[3].sentence


@pytest.mark.parametrize(
    ("backlog", "expected"),
    [
        (Backlog(0, 0.0, 0), []),
        (Backlog(10, 5.0, 0), []),
        (Backlog(10, 90.0, 0), [(Level.WARNING, "outbox")]),
        (Backlog(10, 9000.0, 1), [(Level.PROBLEM, "outbox"), (Level.WARNING, "dead_letters")]),
    ],
)
def test_what_waits(backlog: Backlog, expected: list[tuple[Level, str]]) -> None:
    assert troubles(reading.judge_backlog("health", backlog)) == expected


# --- workspaces, services, time ---

SOURCE = Source("Acme", 1, "Web app", is_importing=False, last_day=NOW.date(), is_known=True)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (SOURCE, None),
        (replace(SOURCE, is_importing=True), "source_importing"),
        (replace(SOURCE, last_day=None), "source_silent"),
        (replace(SOURCE, last_day=date(2026, 2, 20)), "source_silent"),
        (replace(SOURCE, last_day=None, is_known=False), None),
    ],
    ids=["sends", "importing", "never sent", "silent", "nobody knows"],
)
def test_a_source(source: Source, code: str | None) -> None:
    assert troubles(workspaces.judge_sources([source], NOW.date())) == ([(Level.WARNING, code)] if code else [])


@pytest.mark.parametrize(
    ("beside", "waits"),
    [
        (SOURCE, True),
        (replace(SOURCE, is_importing=True), False),
        (replace(SOURCE, workspace="Other"), False),
    ],
    ids=["live", "importing", "of another workspace"],
)
def test_what_is_imported_beside_a_live_source_is_said_to_wait(beside: Source, waits: bool) -> None:
    [told, *_] = workspaces.judge_sources([replace(SOURCE, id=2, is_importing=True), beside], NOW.date())
    assert ("accounts that a live source knows as well does not count yet" in told.sentence) is waits
    assert told.remedy == "When its history is complete: kizashi sources live 2"


@pytest.mark.parametrize(
    ("modes", "codes"),
    [
        ([Mode("Acme", False, False)], []),
        ([Mode("Acme", True, True)], ["killed", "observe"]),
    ],
)
def test_what_leaves_the_house(modes: list[Mode], codes: list[str]) -> None:
    assert [code for _, code in troubles(deliveries.judge_modes(modes))] == codes


def test_without_a_workspace_nobody_can_send() -> None:
    assert troubles(workspaces.judge_workspaces({})) == [(Level.WARNING, "no_workspace")]
    assert troubles(workspaces.judge_workspaces({1: "Acme"})) == []


@pytest.mark.parametrize(
    ("is_known", "answer", "expected"),
    [
        (True, Answer([]), (Level.OK, "service")),
        (True, Answer(["the log is away"]), (Level.PROBLEM, "service_unready")),
        (True, Answer(None, "nobody listens there"), (Level.PROBLEM, "service_away")),
        (False, Answer(None, "nobody listens there"), (Level.WARNING, "service_unseen")),
        (False, Answer(None, "no answer", is_slow=True), (Level.PROBLEM, "service_slow")),
    ],
)
def test_a_service(is_known: bool, answer: Answer, expected: tuple[Level, str]) -> None:
    found = readiness.judge("health", Address("http://here", is_known), answer)
    assert (found.level, found.code) == expected


def test_a_record_from_the_future_tells_of_a_clock() -> None:
    assert troubles(domain_clock.judge_newest(NOW + timedelta(minutes=5), NOW)) == [(Level.WARNING, "log_clock")]
    assert troubles(domain_clock.judge_newest(NOW + timedelta(seconds=1), NOW)) == []
    assert troubles(domain_clock.judge_newest(None, NOW)) == []


# --- the whole ---


@pytest.mark.parametrize(
    ("findings", "could_look", "status"),
    [
        ([ok("a", "A.")], True, 0),
        ([ok("a", "A."), warning("b", "B.")], True, 0),
        ([problem("c", "C.")], True, 1),
        ([problem("c", "C.")], False, 2),
    ],
)
def test_the_exit_status(findings: list[Finding], could_look: bool, status: int) -> None:
    assert Report("here", [Area("one", findings)], could_look).exit_status == status
