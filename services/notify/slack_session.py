"""The HTTP session to Slack: one connection per message, and the lease looked at with the connection already open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import Connection

from libs.common.failpoints import failpoint
from services.notify.lease import Lease

_lease: ContextVar[Lease | None] = ContextVar("lease of the message that this task sends", default=None)


@contextmanager
def speaking_under(lease: Lease) -> Iterator[None]:
    """Requests of this block tell somebody something, so each leaves only while ``lease`` holds."""
    token = _lease.set(lease)
    try:
        yield
    finally:
        _lease.reset(token)


class _LeasedRequest(aiohttp.ClientRequest):
    """Resolving, connecting and TLS are behind us when this writes; they take time, and a process may freeze there."""

    async def send(self, conn: Connection) -> ClientResponse:
        lease = _lease.get()
        if lease is not None:
            failpoint("notify.connected")
            lease.leave()
        return await super().send(conn)


def slack_session(timeout_seconds: float) -> aiohttp.ClientSession:
    """Connections are not kept: a reused one that the other side just closed makes an outcome unknown for nothing."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        request_class=_LeasedRequest,
        trust_env=True,
    )
