"""How a short answer leaves a connection."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

ANSWER_AT_ONCE = "kizashi.answer_at_once"
"""Stands in the scope of every request: an `AnswerAtOnce`."""

Headers = Sequence[tuple[bytes, bytes]]
"""Their names in lower case, their values without line ends, and the length of the body among them if there is one."""
AnswerAtOnce = Callable[[int, Headers, bytes], bool]
"""Takes a whole answer (status, headers, body); False when the client has not yet read what it was sent before, and the
answer must go the usual way, which waits."""


def answer_at_once(cycle_ref: weakref.ref[RequestResponseCycle], status: int, headers: Headers, body: bytes) -> bool:
    """What uvicorn makes of the two messages that ASGI has for an answer, in one piece: each is a system call that
    wakes whoever waits for it, and together they cost a tenth of a short request.

    The cycle holds its scope, where this stands: with more than a weak reference to the cycle, requests and their
    bodies would stay until the collector comes. It lives as long as somebody answers.
    """
    cycle = cycle_ref()
    if cycle is None or cycle.disconnected:
        return True
    if cycle.flow.write_paused:
        return False
    closes = (b"connection", b"close") in headers
    pieces = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        pieces += (name, b": ", value, b"\r\n")
    if closes:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        pieces.append(b"connection: close\r\n")
    pieces += (b"\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(pieces))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
