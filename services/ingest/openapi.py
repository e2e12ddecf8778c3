"""Keeps the OpenAPI document true for the paths that take events, which are no FastAPI routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from services.ingest.openapi_schemas import SCHEMAS, name_of_call
from services.ingest.paths import CLOUD_EVENTS, PATHS, Meaning

_SCHEMES = {
    "Write key": {
        "type": "http",
        "scheme": "basic",
        "description": "the write key as user name, with or without a password",
    },
    "Write key as header": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
    "Write key in the address": {
        "type": "apiKey",
        "in": "query",
        "name": "writeKey",
        "description": "for navigator.sendBeacon, which sends no headers",
    },
}
WRITE_KEY_SECURITY: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]

_ERRORS = {
    "400": "Not JSON, not an object, `batch` no array; a single event that is invalid; any, in strict mode",
    "401": "No write key, or one that is unknown, expired or revoked",
    "403": "The write key is not for the page that sends",
    "408": "The body did not arrive in time",
    "413": "Too large; `limit_bytes` says what fits, or `limit_values` when the body is nothing but commas",
    "415": "An unknown Content-Encoding; of CloudEvents, also a format that is not JSON",
    "429": "The write key has sent more events than its quota; send all of it again after `Retry-After`",
    "431": "Headers of more than 64 KiB",
    "503": "The event log does not answer, or too much is on its way: send all of it again after `Retry-After`",
}
_RETRY_AFTER = {
    "Retry-After": {
        "required": True,
        "description": "seconds",
        "schema": {"type": "integer", "minimum": 1, "maximum": 300},
    }
}


def document_hot_paths(app: FastAPI) -> None:
    """Add them to the document that FastAPI makes, when it first makes it."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        document = make()
        if fresh:
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(SCHEMAS)
            components.setdefault("securitySchemes", {}).update(_SCHEMES)
            for path, meaning in PATHS.items():
                document["paths"][path] = {"post": _operation(path, meaning)}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operation(path: str, meaning: Meaning) -> dict[str, Any]:
    summary, content = _cloud_events() if path == CLOUD_EVENTS else _calls(meaning)
    return {
        "tags": ["telemetry"],
        "summary": summary,
        "operationId": "take_" + path.strip("/").replace("/", "_"),
        "description": _description(path, meaning),
        "security": WRITE_KEY_SECURITY,
        "requestBody": {"required": True, "content": content},
        "responses": _successes(meaning) | {status: _error(status) for status in _ERRORS},
    }


def _calls(meaning: Meaning) -> tuple[str, dict[str, Any]]:
    if not meaning.single:
        summary, schema = "Many events, each by its type", "Batch"
    elif meaning.kind is None:
        summary, schema = "One call, by its type", "Call"
    else:
        summary, schema = f"One {meaning.kind} call", name_of_call(meaning.kind)
    return summary + (", as history" if meaning.historical else ""), {"application/json": _reference(schema)}


def _cloud_events() -> tuple[str, dict[str, Any]]:
    return "CloudEvents", {
        "application/cloudevents+json": _reference("CloudEvent"),
        "application/cloudevents-batch+json": _reference("CloudEvents"),
    }


def _description(path: str, meaning: Meaning) -> str:
    text = (
        f"{meaning.status} means durable. gzip and deflate are taken. A slash at the end of the path changes nothing. "
        "`X-Strict-Mode: 1` turns partial acceptance into a 400. "
    )
    if path == CLOUD_EVENTS:
        return text + (
            "Binary mode is taken too: the attributes as `ce-` headers, the data as body under its own Content-Type. "
            "Without one of CloudEvents' media types an array is a batch."
        )
    return text + "Any Content-Type will do."


def _successes(meaning: Meaning) -> dict[str, Any]:
    taken = {
        "description": "Every event is durable, or finally refused and recorded",
        "content": {"application/json": _reference("Taken")},
    }
    if meaning.status == 204:
        return {
            "204": {"description": "Every event is durable"},
            "200": {**taken, "description": "Some events of a batch were rejected; the others are durable"},
        }
    return {"200": taken}


def _error(status: str) -> dict[str, Any]:
    return {
        "description": _ERRORS[status],
        "content": {"application/json": _reference("ErrorBody")},
        **({"headers": _RETRY_AFTER} if status in ("429", "503") else {}),
    }


def _reference(schema: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}}
