"""The body of a request: its events, still as bytes, and what it says about all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from libs.common.errors import Refused
from services.ingest.domain.calls import NO_CONTEXT, Call, Context, Scalar, read_call, read_context
from services.ingest.domain.mending import BYTE_ORDER_MARK, NUL_ESCAPE, mend

T = TypeVar("T")

VALUES_LIMIT = 500_000
"""Commas in a body. A body of commas alone would become millions of objects, two hundred megabytes for five."""


class Document(msgspec.Struct, frozen=True):
    """``events`` are the bytes of each event; ``read`` makes a call of one, or raises InvalidEvent. ``write_key`` and
    ``sent_at`` are as the client wrote them. A ``single`` event that is invalid makes its request so."""

    events: Sequence[msgspec.Raw]
    write_key: str | None
    sent_at: Scalar
    context: Context
    historical: bool
    single: bool = False
    read: Callable[[bytes], Call] = read_call


class _SingleBody(msgspec.Struct, rename="camel"):
    write_key: Any = None
    sent_at: Any = None


class _BatchBody(_SingleBody, rename="camel"):
    batch: list[msgspec.Raw] | None = None
    context: msgspec.Raw = msgspec.Raw(b"")
    historical: Any = False


_single: msgspec.json.Decoder[_SingleBody] = msgspec.json.Decoder(_SingleBody)
_batch: msgspec.json.Decoder[_BatchBody] = msgspec.json.Decoder(_BatchBody)


def read_single(body: bytes) -> Document:
    """The body of a path for one event: the event itself, with the key and the time of sending among its fields."""
    body, read = strictly_else_mended(body, _single)
    return Document(
        events=[msgspec.Raw(body)],
        write_key=_text(read.write_key),
        sent_at=_scalar(read.sent_at),
        context=NO_CONTEXT,
        historical=False,
        single=True,
    )


def read_batch(body: bytes) -> Document:
    """The body of a path for many events. Raises Refused 400 or 413 when it cannot be told apart into events."""
    _, read = strictly_else_mended(body, _batch)
    if read.batch is None:
        raise Refused(400, "batch_missing", "The body must have a field `batch`, an array of events.")
    return Document(
        events=read.batch,
        write_key=_text(read.write_key),
        sent_at=_scalar(read.sent_at),
        context=read_context(read.context),
        historical=read.historical is True,
    )


def strictly_else_mended(body: bytes, decoder: msgspec.json.Decoder[T]) -> tuple[bytes, T]:
    """The body as it could be read, and what it says. Mending costs ten times the strict way, so it comes second.
    Raises Refused 400 or 413."""
    if body.count(b",") > VALUES_LIMIT:
        raise Refused(
            413,
            "too_many_values",
            f"The body has more than {VALUES_LIMIT} values; send less at a time.",
            limit_values=VALUES_LIMIT,
        )
    mended = NUL_ESCAPE in body or not _is_utf8(body) or body.startswith(BYTE_ORDER_MARK)
    if mended:
        body = mend(body)
    try:
        try:
            return body, decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if mended:
                raise
            body = mend(body)
            return body, decoder.decode(body)
    except msgspec.ValidationError as exc:
        if "$.batch" in str(exc):
            raise Refused(400, "batch_not_an_array", "The field `batch` must be an array of events.") from exc
        if "Expected `array`" in str(exc):
            raise Refused(400, "not_an_array", "The body must be a JSON array.") from exc
        if "got" in str(exc):
            raise Refused(400, "not_an_object", "The body must be a JSON object.") from exc
        raise Refused(400, "number_out_of_range", f"The body holds a number that is too large: {exc}.") from exc
    except msgspec.DecodeError as exc:
        raise Refused(400, "not_json", f"The body is not JSON: {exc}.") from exc
    except RecursionError as exc:
        raise Refused(400, "too_deep", "The body is nested too deeply to be read.") from exc


def _is_utf8(body: bytes) -> bool:
    """msgspec looks only into the strings that it decodes; those that it passes on could be anything."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, str | int | float) else None
