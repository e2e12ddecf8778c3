"""`kizashi log status | skip` against a service that has something to tell; it answers in the place of health."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result

from cli.__main__ import main
from tests.integration.common.conftest import World
from tests.integration.common.desk import Desk
from tests.integration.common.tally import publish, tally, telemetry


class Server(uvicorn.Server):
    """Without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Kizashi = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def kizashi(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kizashi]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("KIZASHI_CLI_API_KEY", desk.keys["operator"])
        monkeypatch.setenv("KIZASHI_CLI_HEALTH_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        for silent in ("PLAYBOOK", "NOTIFY"):
            monkeypatch.setenv(f"KIZASHI_CLI_{silent}_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        nobody.close()
        server = Server(uvicorn.Config(desk.app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listener]))

        async def command(*words: str, answer: str = "") -> Result:
            return await asyncio.to_thread(CliRunner().invoke, main, words, input=answer)

        yield command
        server.should_exit = True
        await serving


@pytest.fixture
async def lost(world: World) -> None:
    """Ten records were read, four more wait, and of the ten it believes that it has read three and the rest is gone."""
    await publish(world.log, [telemetry(n) for n in range(10)], 4)
    await world.run_until_caught_up(tally(world.log, world.worker))
    await world.owner.execute("UPDATE tally.consumer_position SET next = 3, caught_up_to = now() WHERE partition = 4")
    await world.owner.execute("UPDATE log.topic_partition SET earliest = 8 WHERE topic = 'telemetry' AND partition = 4")
    await publish(world.log, [telemetry(n) for n in range(10, 14)], 4)
    await publish(world.log, [telemetry(20)], 5)


async def test_status_shows_what_lags_and_how_a_stopped_partition_goes_on(lost: None, kizashi: Kizashi) -> None:
    shown = await kizashi("log", "status", "--group", "health")
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    [total, fourth, fifth] = [line for line in lines if line[:2] == ["tally", "telemetry"]]
    assert (total[2], total[-1]) == ("12", "1")
    assert fourth[2:6] == ["4", "3", "14", "11"]
    assert fifth[2:6] == ["5", "0", "1", "1"]
    assert "telemetry/4 cannot be read from position 3: the log holds 8 to 14, older records were" in shown.output
    assert "`kizashi log skip tally telemetry 4 --to earliest`" in shown.output


async def test_status_shows_everything_on_request_and_scripts_get_json(lost: None, kizashi: Kizashi) -> None:
    everything = await kizashi("log", "status", "--group", "health", "--all")
    assert ["tally", "telemetry", "6", "0", "0", "0", "0", "s", "–"] in [
        line.split() for line in everything.output.splitlines()
    ]
    [answer] = json.loads((await kizashi("log", "status", "--group", "health", "--json")).output)
    assert len(answer["partitions"]) == 12


async def test_status_tells_who_does_not_answer_and_shows_the_others(lost: None, kizashi: Kizashi) -> None:
    shown = await kizashi("log", "status")
    assert shown.exit_code == 1
    assert "tally" in shown.output
    assert "playbook does not answer" in shown.output
    assert "notify does not answer" in shown.output


async def test_skip_says_what_is_lost_and_asks_first(world: World, lost: None, kizashi: Kizashi) -> None:
    skip = ("log", "skip", "health", "telemetry", "4", "--to", "earliest")
    asked = await kizashi(*skip, answer="n\n")
    assert asked.exit_code == 1
    assert "health is at 3 of telemetry/4; the log holds 8 to 14." in asked.output
    assert "5 records are passed over: what they held is lost to health." in asked.output
    assert "may be called silent" in asked.output
    assert await world.position(4) == 3
    done = await kizashi(*skip, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "Moved from 3 to 8" in done.output
    assert await world.position(4) == 8
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert (await kizashi("log", "status", "--group", "health")).output.count("telemetry") == 1


async def test_skip_moves_back_and_says_what_that_means(world: World, kizashi: Kizashi) -> None:
    await publish(world.log, [telemetry(n) for n in range(10)], 4)
    await world.run_until_caught_up(tally(world.log, world.worker))
    skip = ("log", "skip", "health", "telemetry", "4", "--to", "2")
    refused = await kizashi(*skip, "--yes")
    assert refused.exit_code == 1
    assert "Nothing is lost in telemetry/4: health reads on from 10. --force moves it." in refused.output
    done = await kizashi(*skip, "--force", "--yes")
    assert done.exit_code == 0, done.output
    assert "8 records are read again." in done.output
    assert "passed over" not in done.output
    assert await world.position(4) == 2


@pytest.mark.parametrize(
    ("to", "sentence"),
    [("earliest", "all of it is read again."), ("latest", "what lies before 14 is passed over.")],
    ids=str,
)
async def test_skip_tells_what_nobody_can_know_of_a_log_that_lost_its_end(
    world: World, lost: None, kizashi: Kizashi, to: str, sentence: str
) -> None:
    await world.owner.execute("UPDATE tally.consumer_position SET next = 99 WHERE partition = 4")
    asked = await kizashi("log", "skip", "health", "telemetry", "4", "--to", to, answer="n\n")
    assert f"The log ends before the position, so nobody can tell what of it was read: {sentence}" in asked.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("telemetry", "4", "--to", "nowhere"), "say earliest, latest, or a number"),
        (("telemetry", "12", "--to", "latest"), "does not read telemetry/12"),
        (("touches", "4", "--to", "latest"), "does not read touches/4"),
        (("telemetry", "4", "--to", "99", "--yes"), "nothing can be read from 99"),
    ],
    ids=str,
)
async def test_skip_refuses_what_it_cannot_do(
    world: World, lost: None, kizashi: Kizashi, words: tuple[str, ...], sentence: str
) -> None:
    refused = await kizashi("log", "skip", "health", *words)
    assert refused.exit_code in (1, 2)
    assert sentence in refused.output
    assert await world.position(4) == 3
