"""How a service process lives: HTTP and background tasks together; one dying ends the process, SIGTERM ends it well."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI

from libs.common.errors import NotStarted
from libs.common.observability import get_logger
from libs.common.web import Probes

logger = get_logger(__name__)

STOP_SECONDS = 15
"""For background work to finish or roll back after SIGTERM; the whole stop stays within 20 seconds."""


@dataclass
class Service:
    """Everything that a composition root wires.

    ``open`` runs first, in order, and may raise NotStarted; ``tasks`` run until ``stopping`` is set and then return by
    themselves; ``close`` runs last, in order, each with a deadline.
    """

    name: str
    app: FastAPI
    probes: Probes
    host: str
    port: int
    open: Sequence[Callable[[], Awaitable[object]]] = ()
    tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    close: Sequence[Callable[[], Awaitable[object]]] = ()
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: it would end the process before the background work has ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(compose: Callable[[], Service]) -> None:
    """Run the service that ``compose`` wires until SIGTERM or SIGINT. Exits 2 with one sentence if it cannot start,
    1 if a background task died."""
    try:
        sys.exit(asyncio.run(_run(compose)))
    except NotStarted as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the one sentence for the operator
        sys.exit(2)


async def _run(compose: Callable[[], Service]) -> int:
    service = compose()
    loop = asyncio.get_running_loop()
    server = _Server(
        uvicorn.Config(
            service.app,
            host=service.host,
            port=service.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
    )

    def stop() -> None:
        service.probes.stopping = True
        service.stopping.set()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    status = 0
    try:
        for opening in service.open:
            await opening()
        serving = asyncio.create_task(_serve(server, service), name="http")
        working = [asyncio.create_task(task(), name=getattr(task, "__qualname__", "task")) for task in service.tasks]
        done, _ = await asyncio.wait([serving, *working], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not service.stopping.is_set():
                status = 1
                logger.error("task_ended", task=task.get_name(), exc_info=task.exception())
        stop()
        await _finish([serving, *working])
    finally:
        for closing in service.close:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(closing(), 3)
    return status


async def _serve(server: _Server, service: Service) -> None:
    try:
        await server.serve()
    except SystemExit as exc:  # uvicorn's answer to a port in use
        raise NotStarted(f"{service.name} cannot listen on {service.host}:{service.port}; is the port in use?") from exc


async def _finish(tasks: list[asyncio.Task[None]]) -> None:
    _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in late:
        logger.warning("stopped_late", task=task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=1)
    for task in tasks:
        if task.done() and not task.cancelled() and isinstance(task.exception(), NotStarted):
            raise task.exception()  # type: ignore[misc]


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait, but not past a stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
