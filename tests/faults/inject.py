"""Brings a fault upon the town, from its start to its end: then everything it touched is there and well again."""

from __future__ import annotations

import asyncio
import signal
from time import monotonic
from typing import assert_never

import asyncpg
import httpx

from tests.faults.dependencies import Dependency, freeze, is_at_work, thaw
from tests.faults.processes import Supervised
from tests.faults.schedule import (
    PUBLISHING,
    CutDatabase,
    Fault,
    Freeze,
    FreezeAt,
    FreezeBroker,
    Kill,
    KillAt,
    KillBoth,
    KillBroker,
    KillDatabase,
    Restart,
    RestartBoth,
    Slack,
    Smtp,
)
from tests.faults.town import Town

CUT_EVERY_SECONDS = 0.2
SINK_SECONDS = 8.0
"""So long a trouble of a sink waits for somebody whom it can meet."""
LOOK_SECONDS = 0.05


async def inject(town: Town, fault: Fault) -> bool:
    """Whether it came to it: False when another fault had just taken the process away, a process did not pass the
    failpoint, or nobody met a sink's trouble, in time; that is cleared then."""
    match fault:
        case Kill(service=service, member=member):
            return await _kill(town.of(service)[member])
        case KillBoth(service=service, seconds=seconds):
            await asyncio.gather(*(process.end() for process in town.of(service)))
            await asyncio.sleep(seconds)
            await asyncio.gather(*(process.start() for process in town.of(service)))
        case Restart(service=service, member=member):
            await restart(town.of(service)[member])
        case RestartBoth(service=service):
            await asyncio.gather(*(restart(process) for process in town.of(service)))
        case Freeze(service=service, member=member, seconds=seconds):
            return await _freeze(town.of(service)[member], seconds)
        case KillAt(service=service, member=member, point=point, nth=nth, within_seconds=within_seconds):
            return await _kill_at(town, service, member, point, nth, within_seconds)
        case FreezeAt():
            return await _freeze_at(town, fault)
        case KillDatabase(seconds=seconds):
            await _kill_dependency(town.postgres, seconds)
        case KillBroker(seconds=seconds):
            await _kill_dependency(_broker(town), seconds)
        case FreezeBroker(seconds=seconds):
            await freeze_for(_broker(town), seconds)
        case CutDatabase(seconds=seconds):
            return await _cut(town, seconds)
        case Slack(trouble=trouble, times=times):
            return await _trouble(town, {"target": "slack", "kind": trouble, "times": times})
        case Smtp(trouble=trouble, times=times):
            return await _trouble(town, {"target": "smtp", "method": "DATA", "kind": trouble, "times": times})
        case _:
            assert_never(fault)
    return True


async def restart(process: Supervised, **more: str) -> None:
    """As a deployment does: SIGTERM, and a new one once it has ended. Raises AssertionError when it ends badly."""
    status = await process.stop()
    # One that has only just been started ends by the signal itself.
    assert status in (0, -signal.SIGTERM), f"{process.name} ended with {status} on SIGTERM; see {process.log}"
    await process.start(**more)


async def freeze_for(dependency: Dependency, seconds: float) -> None:
    await freeze(dependency)
    try:
        await asyncio.sleep(seconds)
    finally:
        thaw(dependency)


async def _kill(process: Supervised) -> bool:
    """And wait until the supervisor has started it again."""
    starts, was_there = len(process.starts), process.runs
    process.send(signal.SIGKILL)
    await process.until_started_again(starts, within_seconds=10)
    return was_there


async def _freeze(process: Supervised, seconds: float) -> bool:
    process.freeze()
    try:
        await process.until_frozen(within_seconds=1)
        await asyncio.sleep(seconds)
    except AssertionError:
        return False
    finally:
        process.thaw()
    return True


async def _kill_at(town: Town, service: str, member: int, point: str, nth: int, within_seconds: float) -> bool:
    process = town.of(service)[member]
    starts = len(process.starts) + 1
    await _arm(town, service, member, point, f"{point}:{nth}")
    try:
        await process.until_started_again(starts, within_seconds)
    except AssertionError:
        return await _disarm(process)
    assert process.exits[-1] == -signal.SIGKILL, f"{process.name} ended with {process.exits[-1]}; see {process.log}"
    return True


async def _freeze_at(town: Town, fault: FreezeAt) -> bool:
    process = town.of(fault.service)[fault.member]
    await _arm(town, fault.service, fault.member, fault.point, f"{fault.point}:{fault.nth}=freeze")
    try:
        await process.until_frozen(fault.within_seconds)
    except AssertionError:
        return await _disarm(process)
    await asyncio.sleep(fault.seconds)
    process.thaw()
    return True


async def _arm(town: Town, service: str, member: int, point: str, specification: str) -> None:
    """Returns when the process that is armed is up, or has died or frozen already."""
    process = town.of(service)[member]
    await restart(process, KIZASHI_FAILPOINTS=specification)
    await town.until_up([process.name])
    if point in PUBLISHING:
        # Of several processes one publishes, as long as it lives: this one, when the others have ended.
        await asyncio.gather(*(restart(other) for other in town.of(service) if other is not process))


async def _disarm(process: Supervised) -> bool:
    """A new one in its place, unarmed. Whether it came to its failpoint after all, while it was told to stop."""
    frozen = False
    stopping = asyncio.create_task(process.stop(), name=f"disarm {process.name}")
    while not stopping.done():
        frozen = frozen or process.is_frozen
        process.thaw()
        await asyncio.wait({stopping}, timeout=LOOK_SECONDS)
    status = stopping.result()
    assert status in (0, -signal.SIGTERM, -signal.SIGKILL), f"{process.name} ended with {status}; see {process.log}"
    await process.start()
    return frozen or status == -signal.SIGKILL


def _broker(town: Town) -> Dependency:
    assert town.broker is not None, "with the log on PostgreSQL there is no broker"
    return town.broker


async def _kill_dependency(dependency: Dependency, seconds: float) -> None:
    pid = dependency.pid
    await dependency.kill()
    assert not is_at_work(dependency)
    await asyncio.sleep(seconds)
    await dependency.start()
    assert dependency.pid != pid


async def _cut(town: Town, seconds: float) -> bool:
    ended: int = 0
    owner = await asyncpg.connect(town.postgres.owner_url, timeout=10)
    try:
        deadline = monotonic() + seconds
        while True:
            ended += await owner.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'kizashi'"
            )
            if monotonic() > deadline:
                return ended > 0
            await asyncio.sleep(CUT_EVERY_SECONDS)
    finally:
        await owner.close()


async def _trouble(town: Town, trouble: dict[str, object]) -> bool:
    """Until so many calls have met it."""
    url = f"{town.inbox_url}/v1/faults"
    async with httpx.AsyncClient(timeout=10) as http:
        (await http.post(url, json=trouble)).raise_for_status()
        deadline = monotonic() + SINK_SECONDS
        while any(planned["target"] == trouble["target"] for planned in (await http.get(url)).json()):
            if monotonic() > deadline:
                await http.delete(url)
                return False
            await asyncio.sleep(LOOK_SECONDS)
    return True
