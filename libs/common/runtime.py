"""How a service process lives: HTTP and background tasks together; one dying ends the process, SIGTERM ends it well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from libs.common.errors import NotStarted, RetryLater
from libs.common.garbage import settle_down
from libs.common.http_connection import patient
from libs.common.http_refusals import HeadersForPage, no_headers
from libs.common.observability import get_logger
from libs.common.web import Probes

logger = get_logger(__name__)

REQUEST_SECONDS = 8
"""For requests in hand to be answered after SIGTERM."""
STOP_SECONDS = 11
"""For background work to finish or roll back after SIGTERM: longer than any transaction of a worker may take."""
CLOSE_SECONDS = 3
"""For all closings together."""
CUT_OFF_SECONDS = 17
"""After SIGTERM: whoever still hangs then, as a driver may that waits for a frozen server, is not waited for. The whole
stop stays within 20 seconds."""
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep idle connections, so that it is never we who close one as a request comes in."""
OPEN_AGAIN_SECONDS = 0.5
RECEIVE_BYTES = 64 * 1024
"""That the kernel keeps of a connection, which all comes at once and is in memory before anybody could refuse it."""
PATIENCE_SECONDS = 30.0
"""For the head of a request to arrive, and then for its body. A phone on a train is slow."""


@dataclass
class Service:
    """Everything that a composition root wires.

    HTTP is served at once, ``/readyz`` staying red until ``open`` is through: it runs in order, tries again after
    RetryLater and may raise NotStarted. Then ``tasks`` run until ``stopping`` is set and return by themselves;
    ``close`` runs last, in order.
    """

    name: str
    app: ASGIApp
    probes: Probes
    host: str
    port: int
    open: Sequence[Callable[[], Awaitable[object]]] = ()
    tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    close: Sequence[Callable[[], Awaitable[object]]] = ()
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    patience_seconds: float = PATIENCE_SECONDS
    refusal_headers: HeadersForPage = no_headers
    """Of answers that a connection gives before ``app`` sees a request."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: it would end the process before the background work has ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(compose: Callable[[], Service]) -> None:
    """Run the service that ``compose`` wires until SIGTERM or SIGINT. Exits 2 with one sentence if it cannot start,
    1 if a background task died."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.exit(runner.run(_run(compose)))
    except NotStarted as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the one sentence for the operator
        sys.exit(2)


async def _run(compose: Callable[[], Service]) -> int:
    service = compose()
    listener = _bind(service)
    server = _Server(
        uvicorn.Config(
            service.app,
            http=patient(service.patience_seconds, service.refusal_headers),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=REQUEST_SECONDS,
        )
    )

    def stop(status: int = 0) -> None:
        if not service.stopping.is_set():
            _cut_off_later(status)
        service.probes.stopping = True
        service.stopping.set()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        return await _live(service, server, listener, stop)
    finally:
        await _close(service)


def _cut_off_later(status: int) -> None:
    """A thread, since the loop may be what hangs."""

    def cut_off() -> None:
        logger.warning("stop_cut_off", seconds=CUT_OFF_SECONDS)
        os._exit(status)

    timer = threading.Timer(CUT_OFF_SECONDS, cut_off)
    timer.daemon = True
    timer.start()


async def _live(service: Service, server: _Server, listener: socket.socket, stop: Callable[[int], None]) -> int:
    """Serve, open, work, until told to stop or something ends by itself. The answer is the exit status."""
    service.probes.starting = True
    serving = asyncio.create_task(server.serve([listener]), name="http")
    opening = asyncio.create_task(_open(service), name="open")
    running: list[asyncio.Task[None]] = [serving]
    try:
        done, _ = await asyncio.wait([serving, opening], return_when=asyncio.FIRST_COMPLETED)
        if done == {opening}:
            await opening
            settle_down()
            service.probes.starting = False
            running += [asyncio.create_task(task(), name=_name_of(task)) for task in service.tasks]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if service.stopping.is_set():
            return 0
        _report(done)
        return 1
    finally:
        stop(1)
        opening.cancel()
        await _finish(running)


def _name_of(task: Callable[[], object]) -> str:
    return getattr(task, "__qualname__", "task")


def _bind(service: Service) -> socket.socket:
    """Take the port before anything else is touched; requests are accepted once the server listens."""
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        listener.bind((service.host, service.port))
        listener.listen()
    except OSError as exc:
        listener.close()
        raise NotStarted(
            f"{service.name} cannot listen on {service.host}:{service.port} ({exc.strerror}); "
            f"free the port, or set KIZASHI_{service.name.upper()}_PORT or KIZASHI_HOST."
        ) from exc
    return listener


async def _open(service: Service) -> None:
    for opening in service.open:
        while True:
            try:
                await opening()
                break
            except RetryLater as exc:
                logger.warning("opening_again", detail=str(exc))
                await asyncio.sleep(OPEN_AGAIN_SECONDS)


def _report(ended: set[asyncio.Task[None]]) -> None:
    """Log what ended by itself; NotStarted leaves as its one sentence instead."""
    for task in ended:
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, NotStarted):
            raise problem
        logger.error("task_ended", task=task.get_name(), exc_info=problem)


async def _finish(tasks: list[asyncio.Task[None]]) -> None:
    _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in late:
        logger.warning("stopped_late", task=task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=1)


async def _close(service: Service) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            for closing in service.close:
                try:
                    await closing()
                except Exception as exc:
                    logger.warning("not_closed_well", detail=str(exc))
    except TimeoutError:
        logger.warning("closed_late")


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait, but not past a stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Something that is done as long as the block lasts; if it fails, so does the block, by the same exception."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name=name)
            yield
            task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
