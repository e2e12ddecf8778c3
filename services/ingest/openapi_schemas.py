"""What the paths that take events expect and answer, as JSON Schema, no stricter and no laxer than the rules are.

A batch may hold anything: what is no event is rejected by itself. So its items are described and not prescribed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.events import TelemetryKind
from services.ingest.domain.calls import MESSAGE_ID_CHARACTERS

CHARACTERS = 200
Schema = dict[str, Any]

_SCALAR = ["string", "number", "boolean", "null"]
_NOT_BLANK = r"[^\s\u0000]"
_PRESENT: Schema = {"type": ["string", "number"], "maxLength": CHARACTERS, "pattern": _NOT_BLANK}
_TIME: Schema = {"description": "ISO 8601, or a number of seconds or milliseconds since 1970; anything else is flagged"}
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def _id(description: str) -> Schema:
    return {"type": _SCALAR, "maxLength": CHARACTERS, "description": description}


def _object(description: str) -> Schema:
    return {"type": ["object", "null"], "description": description}


_CALL: Mapping[str, Schema] = {
    "messageId": {
        "type": _SCALAR,
        "maxLength": MESSAGE_ID_CHARACTERS,
        "description": "opaque; the same id counts once. Without it an event with a timestamp counts once, one without "
        "at least once",
    },
    "userId": _id("a number becomes a string; blank, null and booleans count as not sent, here as in every id"),
    "anonymousId": _id("of somebody who has not signed in"),
    "previousId": _id("of an alias call"),
    "groupId": _id("the account"),
    "properties": _object(
        "of what happened; `account_id`, `company_id`, `org_id` or `$groups.company` name the account"
    ),
    "traits": _object("of the user or, in a group call, of the account; `company.id` names the account"),
    "context": {
        "description": "an object, of which `groupId` names the account and `traits` lie under the event's own"
    },
    "timestamp": _TIME,
    "originalTimestamp": {**_TIME, "description": "counts where there is no `timestamp`"},
    "sentAt": {**_TIME, "description": "the client's clock: times are corrected when it is off by minutes"},
    "writeKey": {"description": "where neither a header nor the address has it"},
}

_NAMED: Mapping[TelemetryKind, Schema] = {
    TelemetryKind.TRACK: {**_PRESENT, "description": "what happened"},
}
_NEEDED: Mapping[TelemetryKind, tuple[str, ...]] = {
    TelemetryKind.GROUP: ("groupId",),
    TelemetryKind.ALIAS: ("userId", "anonymousId", "groupId", "previousId"),
}
_WHO = ("userId", "anonymousId", "groupId")


def _call(kind: TelemetryKind) -> Schema:
    """A call on a path that names its kind."""
    return {
        "type": "object",
        "description": f"A {kind} call as Segment-family SDKs send it; unknown fields are passed over. "
        "Wherever an account is named in it, it may be named by that instead of `groupId`.",
        "properties": {
            **_CALL,
            "event": _NAMED.get(kind, {"type": _SCALAR, "description": "of a track call"}),
            "name": {"description": "of a page or screen"},
        },
        "required": ["event"] if kind is TelemetryKind.TRACK else [],
        "anyOf": [{"required": [field], "properties": {field: _PRESENT}} for field in _NEEDED.get(kind, _WHO)],
    }


def _several(schema: str, name: str) -> Schema:
    return {
        "type": "array",
        "items": {"anyOf": [{"$ref": schema}, {"description": f"what is no {name} is rejected by itself, and listed"}]},
    }


def name_of_call(kind: TelemetryKind) -> str:
    return kind.capitalize() + "Call"


SCHEMAS: Mapping[str, Schema] = {
    **{name_of_call(kind): _call(kind) for kind in TelemetryKind},
    "Call": {
        "description": "A call that says by itself what it is.",
        "oneOf": [
            {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"const": kind.value}},
                "allOf": [{"$ref": f"#/components/schemas/{name_of_call(kind)}"}],
            }
            for kind in TelemetryKind
        ],
    },
    "Batch": {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": _several("#/components/schemas/Call", "call"),
            "writeKey": _CALL["writeKey"],
            "sentAt": _CALL["sentAt"],
            "context": {"description": "goes under each event's own"},
            "historical": {"description": "true: takes the lane of imports, and raises nothing"},
        },
    },
    "CloudEvent": {
        "type": "object",
        "description": "CloudEvents 1.0. `source` and `id` together are the message id. An event needs no user.",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": ["string", "number"], "pattern": _NOT_BLANK},
            "source": {"type": ["string", "number"], "pattern": _NOT_BLANK},
            "type": {**_PRESENT, "description": "what happened"},
            "subject": {
                "type": _SCALAR,
                "description": f"the account, of at most {CHARACTERS} characters, when nothing else names one",
            },
            "time": _TIME,
            "datacontenttype": {"type": _SCALAR, "description": "what is not JSON is not kept"},
            "data": {"description": "the properties; what is no object becomes the property `data`"},
            "data_base64": {"type": ["string", "null"], "pattern": _BASE64},
            "userid": _id("an extension"),
            "anonymousid": _id("an extension"),
            "groupid": _id("an extension: the account"),
        },
        "not": {"required": ["data", "data_base64"], "properties": {"data_base64": {"type": "string"}}},
    },
    "CloudEvents": _several("#/components/schemas/CloudEvent", "CloudEvent"),
    "Taken": {
        "type": "object",
        "required": ["success"],
        "description": "Durable in the event log, not yet scored. The further fields appear when events were rejected.",
        "properties": {
            "success": {"const": True},
            "accepted": {"type": "integer", "minimum": 0},
            "rejected": {"type": "integer", "minimum": 1},
            "errors": {
                "type": "array",
                "maxItems": 100,
                "items": {
                    "type": "object",
                    "required": ["index", "messageId", "code", "message"],
                    "properties": {
                        "index": {"type": "integer", "minimum": 0},
                        "messageId": {"type": ["string", "null"]},
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    },
}
