"""The lines of `kizashi tail`, of what the API tells."""

from __future__ import annotations

from typing import Any

import pytest

from cli import tail
from cli.belonging import Account

TAKEN: dict[str, Any] = {
    "received_at": "2026-03-02T12:00:00Z",
    "occurred_at": "2026-03-02T11:59:58Z",
    "kind": "track",
    "event": "Report Exported",
    "user_id": "user-7",
    "anonymous_id": None,
    "flags": [],
    "lane": "live",
}
REFUSED: dict[str, Any] = {
    "received_at": "2026-03-02T12:00:00Z",
    "status": 400,
    "code": "not_json",
    "message": "The body is not JSON.",
    "remedy": "See what the sender really wrote: the beginning of it is shown with the refusal.",
    "times": 1,
    "index": None,
    "message_id": None,
    "original": "user=7&event=Export",
    "original_encoding": "utf-8",
    "original_bytes": 19,
}


def taken(**more: Any) -> str:
    return tail.taken_line(tail.Arrived(1, "", True, TAKEN | more), Account("acme", "groupId"))


def refused(**more: Any) -> str:
    return tail.refused_line(tail.Arrived(1, "", False, REFUSED | more))


def test_an_event_of_another_day_shows_its_own_date() -> None:
    assert taken().endswith("acme (by groupId)")
    assert taken(occurred_at="2026-03-01T12:00:00Z").endswith("acme (by groupId)"), "a day is not long ago"
    assert taken(occurred_at="2024-05-06T07:08:09+02:00", lane="import").endswith(
        "[history, happened 2024-05-06 05:08]"
    )


@pytest.mark.parametrize(
    ("row", "end"),
    [
        ({}, "shown with the refusal. It begins: user=7&event=Export"),
        ({"original": "x" * 100, "original_bytes": 100}, f" It begins: {'x' * 80}…"),
        ({"original": "x\n\x1by", "original_bytes": 9000}, " It begins: x  y…"),
        ({"original": "H4sI", "original_encoding": "base64"}, " It is not text; in base64 it begins H4sI"),
        ({"original": None}, "shown with the refusal."),
        ({"status": None, "index": 3, "remedy": "Mend it."}, " → Mend it."),
    ],
    ids=["whole", "long", "kept in part", "no text", "none", "an event"],
)
def test_the_beginning_of_a_refused_body_is_shown(row: dict[str, Any], end: str) -> None:
    assert refused(**row).endswith(end)
