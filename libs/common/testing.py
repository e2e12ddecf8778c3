"""What tests of several services share: waiting on conditions, never on time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

CALLERS_PORTS = 32768
"""From here on the kernel lends ports to whoever connects, so one that a restarting server needs might be taken."""


async def eventually(probe: Callable[[], Awaitable[T]], *, within_seconds: float = 10, what: str = "condition") -> T:
    """Ask ``probe`` until its answer is truthy and return that. Raises AssertionError with the last answer."""
    deadline = monotonic() + within_seconds
    while True:
        answer = await probe()
        if answer:
            return answer
        if monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within_seconds} s; last answer: {answer!r}")
        await asyncio.sleep(0.02)


def free_port() -> int:
    """A port that nobody is lent meanwhile, so that a process that is started again gets it back."""
    while True:
        port = random.randrange(12000, CALLERS_PORTS)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
