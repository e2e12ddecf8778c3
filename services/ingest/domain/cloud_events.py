"""CloudEvents 1.0 over HTTP: one as JSON, many as JSON, or one in binary mode, its attributes in headers.

Each is read as a track call: ``type`` is the event's name, ``time`` its timestamp, ``data`` its properties, and
``subject`` the account when nothing else names one. The extension attributes ``userid``, ``anonymousid`` and
``groupid`` say who did it. ``source`` and ``id`` together are the message id, as the specification has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import msgspec

from libs.common.errors import InvalidEvent, Refused
from services.ingest.domain.calls import (
    DEPTH_LIMIT,
    MESSAGE_ID_CHARACTERS,
    NO_CONTEXT,
    Call,
    Scalar,
    depth_exceeds,
    identifier,
)
from services.ingest.domain.documents import Document, strictly_else_mended
from services.ingest.domain.mending import BYTE_ORDER_MARK

SPECVERSION = "1.0"

_REQUIRED = ("specversion", "id", "source", "type")
_ATTRIBUTE = re.compile(rb"ce-(?!data$)([a-z0-9]+)")
_QUOTED = re.compile(rb'\s*"((?:[^"\\]|\\.)*)"\s*')
_SAYS_NOTHING = ("", "text/plain", "application/x-www-form-urlencoded")
"""Content types under which JSON arrives everywhere else too: they are what a client sends that was told none."""


class CloudCall(Call):
    """Unlike an SDK's call it needs no user, and may name its account by a subject."""

    needs_user: ClassVar[bool] = False

    subject: Scalar = None


class _CloudEvent(msgspec.Struct):
    specversion: Scalar = None
    id: Scalar = None
    source: Scalar = None
    type: Scalar = None
    subject: Scalar = None
    time: Any = None
    datacontenttype: Scalar = None
    userid: Scalar = None
    anonymousid: Scalar = None
    groupid: Scalar = None
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: Scalar = None


_event: msgspec.json.Decoder[_CloudEvent] = msgspec.json.Decoder(_CloudEvent)
_object: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_anything: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)


def read_cloud_events(body: bytes, headers: Mapping[bytes, bytes]) -> Document:
    """The mode is what Content-Type says, else what the other headers look like, else what the body does. Raises
    Refused 400, 413 or 415."""
    match _mode(body, headers):
        case _Mode.BINARY:
            return _document([msgspec.Raw(_as_json(body, headers))], single=True)
        case _Mode.BATCH:
            _, events = strictly_else_mended(body, _array)
            return _document(events, single=False)
        case _Mode.ALONE:
            body, _ = strictly_else_mended(body, _object)
            return _document([msgspec.Raw(body)], single=True)


def read_cloud_event(event: bytes) -> CloudCall:
    """An event of either JSON mode. Raises InvalidEvent."""
    read = _attributes(event)
    if read.specversion is not None and read.specversion != SPECVERSION:
        raise InvalidEvent("unknown_specversion", f'`specversion` must be "{SPECVERSION}".')
    present = {name: identifier(getattr(read, name), name, len(event)) for name in _REQUIRED}
    for name, value in present.items():
        if value is None:
            raise InvalidEvent(f"missing_{name}", f"A CloudEvent needs `{name}`.")
    return CloudCall(
        message_id=_message_id(str(present["source"]), str(present["id"])),
        event=present["type"],
        user_id=read.userid,
        anonymous_id=read.anonymousid,
        group_id=read.groupid,
        subject=read.subject,
        timestamp=read.time if isinstance(read.time, str | int | float | None) else "unreadable",
        properties=_properties(read),
    )


class _Mode(Enum):
    ALONE = auto()
    BATCH = auto()
    BINARY = auto()


def _mode(body: bytes, headers: Mapping[bytes, bytes]) -> _Mode:
    """Raises Refused 415 for a format of events that is not JSON."""
    media_type = _media_type(headers.get(b"content-type", b"").decode("latin-1"))
    if media_type.startswith("application/cloudevents"):
        if "+" in media_type and not _is_json(media_type):
            raise Refused(415, "unknown_event_format", "CloudEvents are taken as JSON, or in binary mode.")
        return _Mode.BATCH if media_type.startswith("application/cloudevents-batch") else _Mode.ALONE
    if any(f"ce-{name}".encode() in headers for name in _REQUIRED):
        return _Mode.BINARY
    return _Mode.BATCH if body.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"[" else _Mode.ALONE


def _document(events: list[msgspec.Raw], *, single: bool) -> Document:
    return Document(
        events=events,
        write_key=None,
        sent_at=None,
        context=NO_CONTEXT,
        historical=False,
        single=single,
        read=read_cloud_event,
    )


def _attributes(event: bytes) -> _CloudEvent:
    try:
        return _event.decode(event)
    except msgspec.ValidationError as exc:
        if " - at " not in str(exc):
            raise InvalidEvent("not_an_object", "An event must be a JSON object.") from exc
        raise InvalidEvent("invalid_attribute", f"A CloudEvent's attributes are strings or numbers: {exc}.") from exc


def _message_id(source: str, event_id: str) -> str:
    """Readable where it fits. No source that follows the specification has a space, so it separates without doubt."""
    readable = f"{source} {event_id}"
    if len(readable) <= MESSAGE_ID_CHARACTERS and " " not in source:
        return readable
    return hashlib.sha256(msgspec.json.encode([source, event_id])).hexdigest()


# --- data ----------------------------------------------------------------------------------------------------------


def _properties(read: _CloudEvent) -> msgspec.Raw:
    """Data that is declared as something else than JSON, or is something else and not declared, is not kept. Raises
    InvalidEvent."""
    media_type = _media_type(str(read.datacontenttype or ""))
    if read.data_base64 is not None:
        if len(read.data):
            raise InvalidEvent("data_twice", "A CloudEvent has `data` or `data_base64`, not both.")
        packed = _unpacked(read.data_base64)
        return _as_object(_json_within(packed)) if _is_json(media_type or _type_of(packed)) else _NONE
    return _as_object(read.data) if _is_json(media_type or "application/json") else _NONE


_NONE = msgspec.Raw(b"")


def _as_object(data: msgspec.Raw) -> msgspec.Raw:
    """JSON that is no object becomes the one property ``data``."""
    written = bytes(data)
    return data if written in (b"", b"null") or written.startswith(b"{") else msgspec.Raw(b'{"data":%b}' % written)


def _unpacked(text: Scalar) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidEvent("invalid_data_base64", f"`data_base64` is not Base64: {exc}.") from exc


def _type_of(packed: bytes) -> str:
    """Of data that is declared as nothing: in this format that means JSON, but bytes may be anything."""
    try:
        strictly_else_mended(packed, _anything)
    except Refused:
        return "application/octet-stream"
    return "application/json"


def _json_within(packed: bytes) -> msgspec.Raw:
    if depth_exceeds(packed, DEPTH_LIMIT):
        raise InvalidEvent("event_too_deep", f"The event is nested deeper than {DEPTH_LIMIT} levels.")
    try:
        body, _ = strictly_else_mended(packed, _anything)
    except Refused as exc:
        raise InvalidEvent("invalid_data", "The data is not the JSON that its content type says.") from exc
    return msgspec.Raw(body.strip())


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))


# --- binary mode ---------------------------------------------------------------------------------------------------


def _as_json(body: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """The same event in JSON mode, so that from here on there is one way for all, dead letters included."""
    attributes = {
        header[1].decode(): _from_header(header[0], headers[header[0]])
        for header in map(_ATTRIBUTE.fullmatch, headers)
        if header
    }
    declared = headers.get(b"content-type", b"").decode("latin-1")
    if declared:
        attributes["datacontenttype"] = declared
    media_type = _media_type(declared)
    if _is_json(media_type) or (media_type in _SAYS_NOTHING and body.lstrip()[:1] == b"{"):
        try:
            data, _ = strictly_else_mended(body, _anything)
        except Refused:
            pass  # whoever reads the event says what is wrong with it
        else:
            attributes["datacontenttype"] = declared if _is_json(media_type) else "application/json"
            return msgspec.json.encode(attributes)[:-1] + b',"data":' + data + b"}"
    if body:
        attributes["data_base64"] = base64.b64encode(body).decode()
    return msgspec.json.encode(attributes)


def _from_header(name: bytes, value: bytes) -> str:
    quoted = _QUOTED.fullmatch(value)
    try:
        text = unquote_to_bytes(re.sub(rb"\\(.)", rb"\1", quoted.group(1)) if quoted else value).decode()
    except UnicodeDecodeError as exc:
        raise Refused(400, "invalid_attribute", f"The header {name.decode()} must be percent-encoded UTF-8.") from exc
    return text.replace("\0", "")
