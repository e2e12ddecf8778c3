"""A process of the made-up services, for tests that kill or freeze one: two consumers and a relay."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.process import BaseProcess

import psutil
import structlog

from libs.common import failpoints
from libs.common.consumer import Consumer, handles
from libs.common.db import AsyncConnection, text
from libs.common.event_log import Batch
from libs.common.event_log_open import event_log
from libs.common.events import Event, TelemetryReceived
from libs.common.outbox import Relay
from libs.common.received import Received
from libs.common.testing import eventually
from tests.integration.common.tally import echo, on_telemetry_received, tally, worker

FREEZE = b'"event":"freeze"'
"""A record with this freezes the process that was told to freeze there."""

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Member:
    """``freeze`` is "before the transaction" or "inside the handler"; the guards are what keeps a zombie out."""

    url: str
    failpoints: str = ""
    freeze: str = ""
    compare_and_set: bool = True
    claims: bool = True
    batch_size: int = 20


SOME_TURNS = 10
"""Of the event loop."""


class FreezingConsumer(Consumer):
    """Stops its own process at the record that says so, as SIGSTOP from outside would."""

    async def _apply(self, batch: Batch) -> None:
        if any(FREEZE in record.value for record in batch.records):
            os.kill(os.getpid(), signal.SIGSTOP)
            for _ in range(SOME_TURNS):  # it learns which of its connections have been closed meanwhile
                await asyncio.sleep(0)
        await super()._apply(batch)


class WithoutClaims(Consumer):
    async def _claim(self, connection: AsyncConnection, received: Sequence[Received], now: datetime) -> list[Event]:
        return [one.event for one in received]


class WithoutCompareAndSet(Consumer):
    async def _advance(self, connection: AsyncConnection, batch: Batch, refused_in_a_row: int) -> datetime:
        moved = await connection.execute(
            text(
                "UPDATE consumer_position SET next = :end WHERE topic = :topic AND partition = :partition "
                "RETURNING clock_timestamp()"
            ),
            {"topic": batch.source.topic.value, "partition": batch.source.partition, "end": batch.end},
        )
        now: datetime = moved.scalar_one()
        return now


async def on_telemetry_frozen(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
    following = await on_telemetry_received(connection, events)
    if any(event.event == "freeze" for event in events):
        os.kill(os.getpid(), signal.SIGSTOP)
    return following


def run(member: Member) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    failpoints.arm(member.failpoints, "test")
    asyncio.run(_run(member))


async def _run(member: Member) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    log = event_log(member.url, name="member")
    await log.open()
    tally_worker, echo_worker = worker(member.url, "tally"), worker(member.url, "echo")
    parts = [
        *([FreezingConsumer] if member.freeze == "before the transaction" else []),
        *([] if member.claims else [WithoutClaims]),
        *([] if member.compare_and_set else [WithoutCompareAndSet]),
    ]
    kind = type("Tally", (*parts, Consumer), {})
    handler = on_telemetry_frozen if member.freeze == "inside the handler" else on_telemetry_received
    counting = tally(
        log, tally_worker, kind, handlings=[handles(TelemetryReceived, handler)], batch_size=member.batch_size
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(counting.run(stopping))
        group.create_task(echo(log, echo_worker).run(stopping))
        group.create_task(Relay("tally", tally_worker, log, member.url).run(stopping))
    await log.close()
    await tally_worker.close()
    await echo_worker.close()


# --- what the test does with it ---


@contextlib.asynccontextmanager
async def alive(member: Member) -> AsyncIterator[BaseProcess]:
    """The process, killed at the end if it still lives."""
    process = processes.Process(target=run, args=(member,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        await ended(process)
        process.close()


async def ended(process: BaseProcess, within_seconds: float = 20) -> int:
    """The exit status, once there is one; -9 for SIGKILL."""

    async def is_over() -> bool:
        return process.exitcode is not None

    await eventually(is_over, within_seconds=within_seconds, what="the process ends")
    assert process.exitcode is not None
    return process.exitcode


async def frozen(process: BaseProcess) -> None:
    assert process.pid is not None
    found = psutil.Process(process.pid)

    async def is_stopped() -> bool:
        return found.status() == psutil.STATUS_STOPPED

    await eventually(is_stopped, within_seconds=20, what="the process is frozen")


def thaw(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
