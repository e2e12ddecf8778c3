"""The HTTP session to Slack: one connection per message, and the lease looked at with the connection already open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from libs.common.failpoints import failpoint
from services.notify.lease import Lease, LeaseRanOut

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
    """The lease is looked at where the bytes are handed to the connection, headers included.

    Resolving, connecting and TLS are behind us then. ``send`` would be too early: it leaves the writing to a task of
    its own, and a process may freeze between the two.
    """

    _ran_out: LeaseRanOut | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        response = await super().send(conn)
        if self._ran_out is not None:  # Python 3.12 writes within this call, and nobody has begun to wait
            raise self._ran_out
        return response

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        lease = _lease.get()
        if lease is not None:
            failpoint("notify.connected")
            try:
                lease.leave()
            except LeaseRanOut as exc:
                self._ran_out = exc
                # Whoever waits for the answer already learns it from the connection; nobody waits for this task.
                if conn.protocol is not None:
                    conn.protocol.set_exception(exc)
                conn.close()
                return
        await super().write_bytes(writer, conn, content_length)


def slack_session(timeout_seconds: float) -> aiohttp.ClientSession:
    """Connections are not kept: a reused one that the other side just closed makes an outcome unknown for nothing."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        request_class=_LeasedRequest,
        trust_env=True,
    )
