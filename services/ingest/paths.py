"""Every path that takes events, and what it says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Receive

from libs.common.events import TelemetryKind
from services.ingest.domain.cloud_events import read_cloud_events
from services.ingest.domain.documents import Document, read_batch, read_single

Headers = Mapping[bytes, bytes]
"""Of a request, by their names in lower case."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """``read`` makes a document of a decoded body. ``kind`` is that of every event of the path, None where each event
    names its own; ``historical`` sends all of them into the lane of imports. Bodies of ``single`` events have a limit
    of their own."""

    read: Callable[[bytes, Headers], Document]
    kind: TelemetryKind | None = None
    historical: bool = False
    single: bool = False
    status: int = 200
    """When every event was taken. Several SDKs send a batch again that was answered with anything but 200."""


class Incoming(NamedTuple):
    """A request to one of the paths. Its body is still to be received; ``is_here``: all of it, without waiting."""

    meaning: Meaning
    headers: Headers
    query: bytes
    receive: Receive
    is_here: bool


def _batch(body: bytes, _headers: Headers) -> Document:
    return read_batch(body)


def _single(body: bytes, _headers: Headers) -> Document:
    return read_single(body)


_BATCH = Meaning(_batch)
_SINGLE = {kind: Meaning(_single, kind, single=True) for kind in TelemetryKind}
_SINGLE_OF_ANY_KIND = Meaning(_single, single=True)

CLOUD_EVENTS = "/api/v1/events"

PATHS: Mapping[str, Meaning] = {
    "/v1/batch": _BATCH,
    "/v1/b": _BATCH,
    "/v1/import": Meaning(_batch, historical=True),
    "/beacon/v1/batch": _BATCH,
    **{f"/v1/{kind}": meaning for kind, meaning in _SINGLE.items()},
    **{f"/v1/{kind[0]}": meaning for kind, meaning in _SINGLE.items()},
    # Jitsu's, from browsers and from servers.
    **{f"/api/s/{kind}": meaning for kind, meaning in _SINGLE.items()},
    **{f"/api/s/s2s/{kind}": meaning for kind, meaning in _SINGLE.items()},
    "/api/s/event": _SINGLE_OF_ANY_KIND,
    "/api/s/s2s/event": _SINGLE_OF_ANY_KIND,
    "/api/s/s2s/batch": _BATCH,
    CLOUD_EVENTS: Meaning(read_cloud_events, TelemetryKind.TRACK, status=204),
}
"""With a trailing slash they mean the same: a redirect would count as delivered with some clients."""

ALL_PATHS = frozenset(path + slash for path in PATHS for slash in ("", "/"))
