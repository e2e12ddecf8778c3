"""`kizashi import` against a running ingest, and a health that reads what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import uvicorn
from click.testing import CliRunner, Result

from cli.__main__ import main
from libs.common.ddl import CLAIM_TABLES
from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.runtime import Service
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.integration.ingest import conftest as ingest
from tests.integration.ingest.clients import conftest as clients
from tests.integration.ingest.clients.health import Health
from tests.integration.ingest.clients.proxy import Answer, Asked, Forward, Proxy
from tests.integration.ingest.conftest import Tenant, events, records

owner, tenant, neighbour, settings, service, log = (
    ingest.owner,
    ingest.tenant,
    ingest.neighbour,
    ingest.settings,
    ingest.service,
    ingest.log,
)
health, proxy = clients.health, clients.proxy
"""Their fixtures."""

ROOT = Path(__file__).parents[3]
Import = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that knows nothing of ours, and a folder for files."""
    for name in [name for name in os.environ if name.startswith("KIZASHI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KIZASHI_HOME", str(tmp_path / "nobody-home"))
    monkeypatch.chdir(tmp_path)
    return monkeypatch


class Server(uvicorn.Server):
    """Without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def url(service: Service) -> AsyncIterator[str]:
    """Where ingest answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(uvicorn.Config(service.app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.fixture
def kizashi_import(clean: pytest.MonkeyPatch, url: str, tenant: Tenant) -> Import:
    """Calls it with a write key and an API key; ``input`` is what comes by standard input."""
    clean.setenv("KIZASHI_CLI_INGEST_URL", url)
    clean.setenv("KIZASHI_CLI_API_KEY", tenant.api_key)
    clean.setenv("KIZASHI_CLI_WRITE_KEY", tenant.write_key)

    async def call(*words: str, status: int = 0, stdin: bytes | str | None = None) -> Result:
        result = await asyncio.to_thread(CliRunner().invoke, main, ["import", *words], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == status, result.output
        return result

    return call


def recently(days: int = 3) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")


def events_csv(path: Path, rows: int, user: str = "u") -> None:
    at = recently()
    lines = [f"Report Exported,{user}{n % 50},a{n % 10},{at},{n}" for n in range(rows)]
    path.write_text("\n".join(["event,user_id,account_id,timestamp,properties.n", *lines, ""]))


async def test_run_twice_it_counts_once(
    tmp_path: Path,
    health: Health,
    kizashi_import: Import,
    log: EventLog,
    tenant: Tenant,
    owner: asyncpg.Connection,
) -> None:
    renewal = datetime.now(UTC).date() + timedelta(days=60)
    accounts, usage = tmp_path / "accounts.csv", tmp_path / "usage.csv"
    accounts.write_text(
        "Company ID;Company;ARR (EUR);Renewal;Customer since\n"
        f"a1;Acme;€ 48.000,00;{renewal};2021-05-01\na2;Beta;1,200.50;;\n"
    )
    at = recently()
    usage.write_text(
        "event,user_id,account_id,timestamp\n" + f"Login,u1,a1,{at}\n" * 3 + f"Login,u2,a2,{at}\nLogin,u2,a2,\n"
    )
    sent = await kizashi_import("accounts.csv")
    assert "ARR (EUR)       traits.arr           recognised" in sent.stdout
    assert f"Sent 2 rows of accounts.csv to source {tenant.source}, app." in sent.stdout
    assert f"`kizashi sources live {tenant.source}`" in sent.stdout
    assert "Sent 4 rows of usage.csv" in (await kizashi_import("usage.csv", status=1)).stdout
    (reject,) = [json.loads(line) for line in (tmp_path / "usage.csv.rejects.jsonl").read_text().splitlines()]
    assert (reject["line"], reject["code"], reject["original"]) == (6, "missing_timestamp", "Login,u2,a2,")
    await health.caught_up()
    assert (await health.usage("a1")).total() == 4, "three alike are three events; and one call about the account"
    assert await health.usage_total() == 6
    known = await owner.fetch("SELECT name, arr, renewal_date, stage FROM health.account ORDER BY account_id")
    assert [tuple(row) for row in known] == [
        ("Acme", 48_000, renewal, "renewal"),
        ("Beta", 1200.5, None, "onboarding"),
    ]

    again = await kizashi_import("accounts.csv")
    assert again.stdout.startswith("All of accounts.csv was sent on ")
    before = len(await records(log, Topic.TELEMETRY_IMPORT))
    for file in (accounts, usage):
        file.with_name(f"{file.name}.import.json").unlink()
    await kizashi_import("accounts.csv")
    await kizashi_import("usage.csv", status=1)
    assert len(await records(log, Topic.TELEMETRY_IMPORT)) == before + 6
    # The row that was refused is mended, another one added: both are new, and nothing else.
    usage.write_text(usage.read_text().replace("u2,a2,\n", f"u2,a2,{at}\n") + f"Login,u3,a1,{at}")
    mended = await kizashi_import("usage.csv")
    assert "usage.csv has changed since it was sent" in mended.stdout
    assert not (tmp_path / "usage.csv.rejects.jsonl").exists()
    usage.write_text(usage.read_text() + f"\nLogin,u4,a1,{at}\n")
    added = await kizashi_import("usage.csv", "--json")
    assert "Going on after line 7 of usage.csv." in added.stderr
    assert json.loads(added.stdout)["accepted"] == 7
    await health.caught_up()
    assert await health.usage_total() == 9
    assert (await health.usage("a1"))["Login"] == 5


async def test_a_row_that_was_not_written_to_its_end_counts_once(
    tmp_path: Path, kizashi_import: Import, log: EventLog
) -> None:
    async def sent() -> list[tuple[str | None, bytes]]:
        found = [event for event in await events(log, Topic.TELEMETRY_IMPORT) if isinstance(event, TelemetryReceived)]
        return sorted((event.user_id, bytes(event.properties)) for event in found)

    at = recently()
    usage = tmp_path / "usage.csv"
    with usage.open("w") as writer:
        writer.write(f"event,user_id,timestamp,n\nLogin,u1,{at},1\nLogin,u2,{at},12")
        writer.flush()
        first = await kizashi_import("usage.csv")
        assert "Line 3 has no end yet, and somebody is writing usage.csv" in first.stderr
        assert "Line 3 has no end yet" in (await kizashi_import("usage.csv")).stderr
        assert await sent() == [("u1", b'{"n":1}')]
        writer.write("34\nLogin,u3,")
    assert "Sent 2 rows" in (await kizashi_import("usage.csv", status=1)).stdout
    with usage.open("a") as writer:
        writer.write(f"{at},5\nLogin,u4,{at},6")
    assert "Sent 4 rows" in (await kizashi_import("usage.csv")).stdout
    counted = [("u1", b'{"n":1}'), ("u2", b'{"n":1234}'), ("u3", b'{"n":5}'), ("u4", b'{"n":6}')]
    ids = {event.id for event in await events(log, Topic.TELEMETRY_IMPORT)}
    assert (sorted(set(await sent())), len(ids)) == (counted, 4)

    # Nobody is writing it now, so the last row was sent; then it turns out to have been half of one.
    with usage.open("a") as writer:
        writer.write(f"78\nLogin,u5,{at},7\n")
    grown = await kizashi_import("usage.csv", "--json", status=1)
    assert "Going on after line 5" in grown.stderr
    assert json.loads(grown.stdout)["refused_by_code"] == {"sent_unfinished": 1}
    (reject,) = [json.loads(line) for line in (tmp_path / "usage.csv.rejects.jsonl").read_text().splitlines()]
    assert (reject["line"], reject["original"]) == (5, f"Login,u4,{at},678")
    assert sorted(set(await sent())) == [*counted, ("u5", b'{"n":7}')]
    assert "All of usage.csv was sent" in (await kizashi_import("usage.csv", status=1)).stdout


async def test_after_its_ids_are_forgotten_a_file_still_counts_once(
    tmp_path: Path, health: Health, kizashi_import: Import, owner: asyncpg.Connection, neighbour: Tenant
) -> None:
    """Health remembers ids for seven days; from then on the journal is what knows."""
    usage, journal = tmp_path / "usage.csv", tmp_path / "usage.csv.import.json"
    events_csv(usage, 20)
    await kizashi_import("usage.csv")
    await health.caught_up()
    await owner.execute(f"TRUNCATE {', '.join(f'health.claim_{slot}' for slot in range(CLAIM_TABLES))}")
    long_ago = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    journal.write_text(json.dumps(json.loads(journal.read_bytes()) | {"first_sent_at": long_ago}))

    assert "All of usage.csv was sent on " in (await kizashi_import("usage.csv")).stdout
    usage.write_text(usage.read_text() + f"Login,u1,a1,{recently()},\n")
    await kizashi_import("usage.csv")
    rows = usage.read_text().splitlines(keepends=True)
    usage.write_text("".join([rows[0], *rows[2:]]))
    changed = await kizashi_import("usage.csv", status=2)
    assert "those that are still there would count twice" in changed.stderr
    usage.write_text("".join(rows))
    mapped = await kizashi_import("usage.csv", "--map", "properties.n=", status=2)
    assert "was sent with other options (kind, columns, dates, ids). --again sends all of it" in mapped.stderr
    elsewhere = await kizashi_import("usage.csv", "--write-key", neighbour.write_key, status=2)
    assert "usage.csv was sent to source " in elsewhere.stderr
    await health.caught_up()
    assert await health.usage_total() == 21

    await kizashi_import("usage.csv", "--again")
    await health.caught_up()
    assert await health.usage_total() == 21 + 20, "who says so gets so"


async def test_interrupted_and_killed_it_goes_on_where_it_was(
    tmp_path: Path, health: Health, kizashi_import: Import, url: str, proxy: Proxy, clean: pytest.MonkeyPatch
) -> None:
    rows = 8000
    events_csv(tmp_path / "usage.csv", rows)
    journal = tmp_path / "usage.csv.import.json"
    proxy.target = url
    taken, over = asyncio.Event(), asyncio.Event()

    async def silent_in_the_middle(nth: int, asked: Asked, forward: Forward) -> Answer | None:
        """Takes what it is sent, and after the fifth request never answers."""
        answer = await forward(asked)
        if nth > 5:
            taken.set()
            await over.wait()
        return answer

    def acknowledged() -> int:
        return int(json.loads(journal.read_bytes()).get("accepted", 0)) if journal.exists() else 0

    async def ended_by(number: signal.Signals) -> tuple[int | None, str]:
        before = acknowledged()
        taken.clear()
        environment = dict(os.environ) | {
            "KIZASHI_CLI_INGEST_URL": proxy.way(number.name, silent_in_the_middle).url,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "cli", "import", "usage.csv"]
        process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        await taken.wait()

        async def some_more() -> bool:
            return acknowledged() > before

        await eventually(some_more, what="a journal that goes on")
        process.send_signal(number)
        _, told = await process.communicate()
        return process.returncode, told.decode()

    try:
        status, told = await ended_by(signal.SIGINT)
        interrupted_at = acknowledged()
        assert (await ended_by(signal.SIGTERM))[0] == 130
        assert (await ended_by(signal.SIGKILL))[0] == -signal.SIGKILL
        killed_at = acknowledged()
    finally:
        over.set()
    assert status == 130
    assert told == (
        f"Stopped after line {interrupted_at + 1} of usage.csv: It was interrupted. The same command goes on there.\n"
    )
    assert 0 < interrupted_at < killed_at < rows

    rest = await kizashi_import("usage.csv", "--json")
    assert rest.stderr == f"Going on after line {killed_at + 1} of usage.csv.\n"
    assert json.loads(rest.stdout)["accepted"] == rows
    await health.caught_up()
    assert await health.usage_total() == rows


async def test_trouble_is_waited_for_and_what_was_sent_twice_is_known(
    tmp_path: Path, health: Health, kizashi_import: Import, url: str, proxy: Proxy, clean: pytest.MonkeyPatch
) -> None:
    rows = 3000
    events_csv(tmp_path / "usage.csv", rows)
    proxy.target = url
    wait = {"Retry-After": "0", "Content-Type": "application/json"}

    async def all_kinds(nth: int, asked: Asked, forward: Forward) -> Answer | None:
        match nth:
            case 2:
                return Answer(503, wait, b'{"success":false,"code":"log_unavailable","message":"Later."}')
            case 3:
                return Answer(429, wait, b'{"success":false,"code":"over_quota","message":"Too much."}')
            case 4:
                await forward(asked)
                return None  # cut after the log has it
            case 5:
                return Answer(413, wait, b'{"success":false,"code":"body_too_large","message":"Too large."}')
        return await forward(asked)

    way = proxy.way("trouble", all_kinds)
    clean.setenv("KIZASHI_CLI_INGEST_URL", way.url)
    assert json.loads((await kizashi_import("usage.csv", "--json")).stdout)["accepted"] == rows
    assert {200, 413, 429, 503, None} == set(way.told)
    await health.caught_up()
    assert await health.usage_total() == rows


async def test_a_log_that_stays_away_ends_it_and_the_same_command_goes_on(
    tmp_path: Path, kizashi_import: Import, url: str, proxy: Proxy, clean: pytest.MonkeyPatch, log: EventLog
) -> None:
    events_csv(tmp_path / "usage.csv", 2600)
    proxy.target = url

    async def away(nth: int, asked: Asked, forward: Forward) -> Answer | None:
        if nth > 3:
            return Answer(503, {"Retry-After": "0"}, b'{"success":false,"code":"x","message":"Later."}')
        return await forward(asked)

    clean.setenv("KIZASHI_CLI_INGEST_URL", proxy.way("away", away).url)
    ended = await kizashi_import("usage.csv", "--patience", "0.2", status=3)
    assert "Nothing was accepted for 0 s: ingest answers 503. The same command goes on there." in ended.stderr
    clean.setenv("KIZASHI_CLI_INGEST_URL", url)
    await kizashi_import("usage.csv")
    sent = [event.id for event in await events(log, Topic.TELEMETRY_IMPORT)]
    assert len(set(sent)) == 2600


async def test_what_ingest_refuses_stands_beside_with_its_line(
    tmp_path: Path, kizashi_import: Import, log: EventLog
) -> None:
    """More in one batch than ingest lists."""
    at = recently()
    rows = [f"Login,{'x' * 201 if n % 3 else 'u'},a1,{at},{n}" for n in range(360)]
    (tmp_path / "usage.csv").write_text("\n".join(["event,user_id,account_id,timestamp,n", *rows]))
    done = await kizashi_import("usage.csv", "--json", status=1)
    assert json.loads(done.stdout)["refused_by_code"] == {"user_id_too_long": 240}
    rejects = [json.loads(line) for line in (tmp_path / "usage.csv.rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [n + 2 for n in range(360) if n % 3]
    assert len({event.id for event in await events(log, Topic.TELEMETRY_IMPORT)}) == 120
    assert "All of usage.csv was sent" in (await kizashi_import("usage.csv", status=1)).stdout


async def test_history_keeps_its_times_and_says_that_it_is_history(
    tmp_path: Path, kizashi_import: Import, log: EventLog
) -> None:
    """As an SDK's archive has it: sent long ago, by a clock that nobody need correct any more."""
    call = {
        "type": "track",
        "event": "Login",
        "userId": "u1",
        "messageId": "m1",
        "timestamp": "2025-03-01T10:00:00.000Z",
        "sentAt": "2025-03-01T10:00:05.000Z",
        "receivedAt": "2025-03-01T10:00:06.000Z",
        "context": {"groupId": "a1", "library": {"name": "analytics.js"}},
        "properties": {"plan": "pro"},
    }
    (tmp_path / "archive.gz").write_bytes(gzip.compress(json.dumps(call).encode() + b"\n"))
    await kizashi_import("archive.gz")
    (event,) = await events(log, Topic.TELEMETRY_IMPORT)
    assert isinstance(event, TelemetryReceived)
    assert (event.id, event.account_id, event.historical, event.flags) == ("m1", "a1", True, ())
    assert event.occurred_at == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert json.loads(bytes(event.properties)) == {"plan": "pro"}


async def test_a_source_gets_a_key_for_as_long_as_it_takes(
    kizashi_import: Import, url: str, tenant: Tenant, clean: pytest.MonkeyPatch, log: EventLog
) -> None:
    clean.delenv("KIZASHI_CLI_WRITE_KEY")
    csv = "account_id,name\na1,Acme\n"
    missing = await kizashi_import("-", "--as-of", "2026-01-31", stdin=csv, status=2)
    assert "No write key: name a source (--source NAME" in missing.stderr
    unknown = await kizashi_import("-", "--source", "billing", stdin=csv, status=2)
    assert f"There is no source billing; there are: {tenant.source} (app)." in unknown.stderr
    done = await kizashi_import("-", "--source", "app", "--as-of", "2026-01-31", stdin=csv)
    assert f"Sent 1 row of standard input to source {tenant.source}, app." in done.stdout
    assert "Next: `kizashi tail` shows" in done.stdout
    nothing = await kizashi_import(
        "-", "--source", "app", stdin="event,user_id,timestamp\nLogin,,2026-01-01\n", status=1
    )
    assert "Sent 0 rows" in nothing.stdout
    assert "Next:" not in nothing.stdout
    (event,) = await events(log, Topic.TELEMETRY_IMPORT)
    assert isinstance(event, TelemetryReceived)
    assert (event.account_id, event.user_id, event.occurred_at.isoformat()) == ("a1", None, "2026-01-31T00:00:00+00:00")
    async with httpx.AsyncClient(base_url=url, headers=tenant.admin) as api:
        keys = (await api.get(f"/v1/sources/{tenant.source}/write-keys")).json()
    assert [(key["name"], key["state"]) for key in keys[1:]] == [("kizashi import", "revoked")] * 2
    assert all(datetime.fromisoformat(key["expires_at"]) < datetime.now(UTC) + timedelta(days=1) for key in keys[1:])


async def test_it_says_what_is_wrong_before_anything_is_sent(
    tmp_path: Path, kizashi_import: Import, tenant: Tenant, clean: pytest.MonkeyPatch, log: EventLog
) -> None:
    (tmp_path / "accounts.csv").write_text("account_id,name\na1,Acme\n")
    refused = await kizashi_import("accounts.csv", "--write-key", "kzw_0_nobody", status=2)
    assert "ingest answers 401: This write key is unknown" in refused.stderr
    assert "`kizashi keys create --source ID` makes one" in refused.stderr
    clean.setenv("KIZASHI_CLI_INGEST_URL", "http://127.0.0.1:1")
    nobody = await kizashi_import("accounts.csv", status=2)
    assert "ingest does not answer at http://127.0.0.1:1 (ConnectError)" in nobody.stderr
    assert await records(log, Topic.TELEMETRY_IMPORT) == []
    assert os.listdir(tmp_path) == ["accounts.csv"]
