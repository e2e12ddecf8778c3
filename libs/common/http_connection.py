"""One HTTP connection: uvicorn's, with the patience and the limits that it lacks, and with our errors for what is no
HTTP. It would wait for ever for a head that never ends, and hold all of it."""

from __future__ import annotations

import weakref
from asyncio import Transport
from asyncio.events import TimerHandle
from functools import partial
from typing import Any, NoReturn

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from libs.common.http_refusals import (
    HEAD_LIMIT_BYTES,
    HEAD_TOO_LARGE,
    HEADERS_AT_MOST,
    NO_HTTP,
    TOO_LATE,
    TOO_MANY_HEADERS,
    TOO_MANY_WAITING,
    WAITING_AT_MOST,
    HeadersForPage,
    Refusal,
    no_headers,
)
from libs.common.http_upgrade import head_without_offer, is_tunnel, parser_for
from libs.common.http_writing import ANSWER_AT_ONCE, answer_at_once

BODY_IS_HERE = "kizashi.body_is_here"
"""Stands in the scope of a request whose body had come before anybody asked for it, so that nobody needs to watch over
its arrival."""
BODY_PATIENCE = 2
"""Times the patience for a head. Whoever reads a body should give up, and say so, before its connection is cut."""
LINGER_SECONDS = 2
"""After a refusal, for what is still on its way: closing at once would reset the connection, and the answer with it."""


def patient(seconds: float, headers_for_page: HeadersForPage = no_headers) -> type[HttpConnection]:
    """A kind of connection that waits so long for a request's head, and twice as long for its body, and whose refusals
    bear these headers."""

    class Patient(HttpConnection):
        patience_seconds = seconds
        refusal_headers = staticmethod(headers_for_page)

    return Patient


class HttpConnection(HttpToolsProtocol):
    patience_seconds: float
    refusal_headers: HeadersForPage

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_body = False
        self._head_bytes_at_most = 0
        """Received since the last head was complete."""
        self._bare_bytes = 0
        """Received since the last piece of a body, or the end of one."""
        self._deadline: TimerHandle | None = None
        self._idle_since: float | None = None
        """None while a request is arriving or in hand."""
        self._refused = False
        self._last_words: bytes | None = None
        """To be written when all requests in hand are answered."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self.timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client may end its own side and read on: what came whole is answered before the connection ends."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or self._in_body:
            return False
        if not self._refused:
            self._refused = True
            self._forget_deadline()
            cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._head_bytes_at_most += len(data)
        self._bare_bytes += len(data)
        self._parse(data)
        if self._in_body or self._in_head:
            self._unset_keepalive_if_required()
            self._wait_for_more()
            return
        if self._deadline is not None:
            self._forget_deadline()
        if self.cycle is not None and not self.cycle.response_complete:  # empty lines alone are no request
            self._unset_keepalive_if_required()
        elif self._idle_since is None:  # the rest of a body that was answered before it had come
            self._idle_since = self.loop.time()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            self._refuse(NO_HTTP)
        except HttpParserUpgrade as stopped:
            head = head_without_offer(self.parser, self.url, self.headers)
            self.parser = parser_for(self)
            self._parse(head + data[stopped.args[0] :])

    @property
    def _in_head(self) -> bool:
        scope: HTTPScope | None = self.scope
        return scope is not None and "method" not in scope

    def _wait_for_more(self) -> None:
        if len(self.headers) > HEADERS_AT_MOST:
            self._refuse(TOO_MANY_HEADERS)
        elif self._bare_bytes > HEAD_LIMIT_BYTES:
            self._refuse(HEAD_TOO_LARGE)
        elif self._deadline is None and not self._refused:
            seconds = self.patience_seconds * (BODY_PATIENCE if self._in_body else 1)
            self._deadline = self.loop.call_later(seconds, self._too_late)

    # --- what the parser tells ---

    def on_headers_complete(self) -> None:
        if len(self.headers) > HEADERS_AT_MOST:
            self._stop_parsing(TOO_MANY_HEADERS)
        if self._head_bytes_at_most > HEAD_LIMIT_BYTES and self._head_bytes() > HEAD_LIMIT_BYTES:
            self._stop_parsing(HEAD_TOO_LARGE)
        if len(self.pipeline) >= WAITING_AT_MOST:
            self._stop_parsing(TOO_MANY_WAITING)
        if self.parser.should_upgrade():
            if is_tunnel(self.parser):
                self._stop_parsing(NO_HTTP)
            return  # the parser stops by itself, and gets this head again
        self._head_bytes_at_most = self._bare_bytes = 0
        if self._deadline is not None:
            self._forget_deadline()
        super().on_headers_complete()
        self.scope[ANSWER_AT_ONCE] = partial(answer_at_once, weakref.ref(self.cycle))  # type: ignore[literal-required]
        self._in_body = True  # not before: an address that cannot be read ends with its head
        self.headers = []  # for what a chunked body may bring after its end: that is no header, and nobody reads it

    def on_body(self, body: bytes) -> None:
        self._bare_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._in_body:
            return  # the end of a head that comes again
        self._in_body = False
        if self.headers:
            self.headers = []
        self._bare_bytes = 0
        if self.scope is not None:  # it is, once an early answer is out
            self.scope[BODY_IS_HERE] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Lets go of the request and what had come of its body, which else stay as long as the connection."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self._go_on()
        cycle: RequestResponseCycle = self.cycle
        if cycle.response_complete:
            cycle.body = bytearray()
            if self.scope is cycle.scope:  # and not that of a next one, which has begun to arrive
                self.scope, self.url = None, b""  # type: ignore[assignment]
            cycle.scope = None  # type: ignore[assignment]

    def _go_on(self) -> None:
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words is not None:
            self._end(self._last_words)
        else:
            self._idle_since = self.loop.time()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    # --- an idle connection ---
    # One timer goes on for as long as the connection: uvicorn's own takes a new one for each request.

    def timeout_keep_alive_handler(self) -> None:
        now = self.loop.time()
        left = self.timeout_keep_alive - (now - self._idle_since if self._idle_since is not None else 0)
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        elif not self.transport.is_closing():
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    # --- refusals ---

    def _stop_parsing(self, refusal: Refusal) -> NoReturn:
        self._refuse(refusal)
        raise ValueError(refusal.message)

    def _too_late(self) -> None:
        self._deadline = None
        self._refuse(TOO_LATE)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is arriving, after all that came before it, and let nothing more happen on this connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._forget_deadline()
        named = self.scope["headers"] if self.scope is not None else ()  # as far as the parser told them
        answer = refusal.answer(self.refusal_headers(dict(named).get(b"origin")))
        self.scope, self.headers, self.url = None, [], b""  # type: ignore[assignment]
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or (cycle.response_complete and not self._in_body):
            self._end(answer)
        elif not self._in_body:
            self._last_words = answer
        elif self.pipeline:
            self.pipeline.popleft()  # the request whose body is no good; it has not begun
            self._last_words = answer
        elif cycle.response_started:
            self.transport.close()  # two answers must not mix
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._end(answer)

    def _end(self, last_words: bytes) -> None:
        self.transport.write(last_words)
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
