"""One event as the client wrote it: its fields, whatever types their values have, and its ids made strings."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from libs.common.errors import InvalidEvent

Scalar = str | int | float | bool | None

DEPTH_LIMIT = 32
MESSAGE_ID_CHARACTERS = 100

_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_WHOLE_NUMBERS_UNTIL = 2.0**53


class Context(msgspec.Struct, rename="camel"):
    """The two fields of a ``context`` that count here."""

    group_id: Any = None
    traits: msgspec.Raw = msgspec.Raw(b"")


class Call(msgspec.Struct, rename="camel"):
    """The fields of a call; unknown ones are passed over. Objects stay as bytes until somebody needs them."""

    needs_user: ClassVar[bool] = True
    """Or an account; what it means without either cannot be told."""

    type: Scalar = None
    message_id: Scalar = None
    user_id: Scalar = None
    anonymous_id: Scalar = None
    previous_id: Scalar = None
    group_id: Scalar = None
    event: Scalar = None
    name: Scalar = None
    timestamp: Scalar = None
    original_timestamp: Scalar = None
    sent_at: Scalar = None
    properties: msgspec.Raw = msgspec.Raw(b"")
    traits: msgspec.Raw = msgspec.Raw(b"")
    context: Context | None = None

    @property
    def subject(self) -> Scalar:
        """What names the account when nothing else does. CloudEvents have one; in a call it is an unknown field."""
        return None


NO_CONTEXT = Context()
_FIELDS = {field.encode_name: field for field in msgspec.structs.fields(Call)}
_IDS = frozenset({"messageId", "userId", "anonymousId", "previousId", "groupId", "event"})

_call: msgspec.json.Decoder[Call] = msgspec.json.Decoder(Call)
_context: msgspec.json.Decoder[Context] = msgspec.json.Decoder(Context)
_fields: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_object: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def read_call(event: bytes) -> Call:
    """The fields of an event. Raises InvalidEvent when it is no object, or an id of it is one."""
    try:
        return _call.decode(event)
    except msgspec.ValidationError:
        return _read_forgiving(event)


def _read_forgiving(event: bytes) -> Call:
    """Field by field: an id of a wrong type is an error, anything else of a wrong type counts as not sent."""
    try:
        fields = _fields.decode(event)
    except msgspec.ValidationError as exc:
        raise InvalidEvent("not_an_object", "An event must be a JSON object.") from exc
    call = Call()
    for name, raw in fields.items():
        field = _FIELDS.get(name)
        if field is None:
            continue
        try:
            value = raw if field.type is msgspec.Raw else msgspec.json.decode(raw, type=field.type)
        except msgspec.ValidationError as exc:
            if name in _IDS:
                raise InvalidEvent(f"invalid_{field.name}", f"`{name}` must be a string or a number: {exc}.") from exc
            # An unreadable time is told apart from none, so what was sent must stay something.
            value = "unreadable" if name in ("timestamp", "originalTimestamp") else None
        setattr(call, field.name, value)
    return call


def read_context(raw: msgspec.Raw) -> Context:
    """A context, empty when it is none."""
    try:
        return _context.decode(raw) if len(raw) else NO_CONTEXT
    except msgspec.DecodeError:
        return NO_CONTEXT


def read_object(raw: msgspec.Raw, name: str) -> dict[str, Any]:
    """An object of the event; none or null is an empty one. Raises InvalidEvent.

    Decoding it in full also proves that every number in it fits: those that do not are refused by whoever stores them.
    """
    if len(raw) == 0 or raw == _NULL:
        return {}
    try:
        return _object.decode(raw)
    except msgspec.ValidationError as exc:
        raise InvalidEvent(f"invalid_{name}", f"`{name}` must be an object of values that fit: {exc}.") from exc


_NULL = msgspec.Raw(b"null")


def identifier(value: Scalar, name: str, limit: int) -> str | None:
    """An id as a string: 42 and 42.0 are "42"; blank ones, null and booleans are none. Raises InvalidEvent."""
    text = value if isinstance(value, str) else _number_as_text(value)
    if len(text) > limit:
        raise InvalidEvent(f"{name}_too_long", f"The {name} has {len(text)} characters; at most {limit}.")
    return text if text and not text.isspace() else None


def _number_as_text(value: float | None) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_NUMBERS_UNTIL:
        value = int(value)
    return str(value)


def depth_exceeds(event: bytes, limit: int) -> bool:
    """Whether objects and arrays are nested deeper than ``limit``."""
    if event.count(b"{") + event.count(b"[") <= limit:
        return False
    depth = 0
    for found in _TOKENS.finditer(event):
        first = event[found.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif first in b"]}":
            depth -= 1
    return False
