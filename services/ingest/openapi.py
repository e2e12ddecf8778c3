"""Keeps the OpenAPI document true for the hot paths, which are no FastAPI routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from services.ingest.paths import PATHS, Meaning

_ID = {"type": ["string", "number", "null"]}
_TIME = {"type": "string", "format": "date-time"}

_SCHEMAS: dict[str, Any] = {
    "Event": {
        "type": "object",
        "description": "A call as Segment-family SDKs send it; unknown fields are passed over. It needs `userId`, "
        "`anonymousId` or an account.",
        "properties": {
            "type": {"enum": ["track", "identify", "group", "page", "screen", "alias"]},
            "messageId": {
                "type": "string",
                "maxLength": 100,
                "description": "opaque; the same id counts once. Without it an event with a timestamp counts once, "
                "one without at least once",
            },
            "userId": _ID,
            "anonymousId": _ID,
            "previousId": _ID,
            "groupId": {**_ID, "description": "the account"},
            "event": {"type": "string", "maxLength": 200, "description": "what happened; track needs it"},
            "name": {"type": "string", "description": "of a page or screen"},
            "properties": {"type": "object"},
            "traits": {"type": "object"},
            "context": {"type": "object"},
            "timestamp": _TIME,
        },
    },
    "SingleEvent": {
        "allOf": [
            {"$ref": "#/components/schemas/Event"},
            {"type": "object", "properties": {"writeKey": {"type": "string"}, "sentAt": _TIME}},
        ]
    },
    "Batch": {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
            "writeKey": {"type": "string"},
            "sentAt": {**_TIME, "description": "the client's clock; times are corrected when it is off by minutes"},
            "context": {"type": "object", "description": "goes under each event's own"},
            "historical": {"type": "boolean", "description": "takes the lane of imports and raises nothing"},
        },
    },
    "Taken": {
        "type": "object",
        "required": ["success"],
        "description": "Durable in the event log, not yet scored. The further fields appear when events were rejected.",
        "properties": {
            "success": {"const": True},
            "accepted": {"type": "integer"},
            "rejected": {"type": "integer"},
            "errors": {
                "type": "array",
                "maxItems": 100,
                "items": {
                    "type": "object",
                    "properties": {
                        "index": {"type": "integer"},
                        "messageId": {"type": ["string", "null"]},
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    },
}

_ERRORS = {
    "400": "Not JSON, not an object, `batch` no array; a single event that is invalid; any, in strict mode",
    "401": "No write key, or one that is unknown or revoked",
    "413": "Too large; `limit_bytes` says what fits",
    "415": "An unknown Content-Encoding",
    "503": "The event log does not answer, or too much is on its way: send all of it again after `Retry-After`",
}


def document_hot_paths(app: FastAPI) -> None:
    """Add them to the document that FastAPI makes, when it first makes it."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        document = make()
        if fresh:
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(_SCHEMAS)
            components.setdefault("securitySchemes", {})["Write key"] = {
                "type": "http",
                "scheme": "basic",
                "description": "the write key as user name; or X-Write-Key, ?writeKey=, or writeKey in the body",
            }
            for path, meaning in PATHS.items():
                document["paths"][path] = {"post": _operation(path, meaning)}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operation(path: str, meaning: Meaning) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    body = "SingleEvent" if meaning.kind else "Batch"
    summary = f"One {meaning.kind} call" if meaning.kind else "Many events, each by its type"
    return {
        "tags": ["telemetry"],
        "summary": summary + (", as history" if meaning.historical else ""),
        "operationId": "take_" + path.strip("/").replace("/", "_"),
        "description": "200 means durable. Any Content-Type; gzip and deflate are taken. `X-Strict-Mode: 1` turns "
        "partial acceptance into a 400.",
        "security": [{"Write key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        },
        "responses": {
            "200": {
                "description": "Every event is durable, or finally refused and recorded",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Taken"}}},
            },
            **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
        },
    }
