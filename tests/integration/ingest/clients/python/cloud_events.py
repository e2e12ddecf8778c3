"""A product that says what happened in CloudEvents, run where nothing but their SDK and requests is installed.

    python -S cloud_events.py < job.json

A job is {"url", "key", "user", "account"}. The SDK makes messages and leaves the sending to others; so does its
documentation, to requests. What is printed has the status of each mode's answer.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=9)))
DATA = {"n": 1, "share": float("nan"), "when": WHEN, "name": "月次レポート é"}


def event(job: dict[str, Any], event_id: str) -> CloudEvent:
    attributes = {
        "id": event_id,
        "source": "/reports",
        "type": "Report Exported",
        "time": WHEN,
        "subject": job["account"],
        "userid": job["user"],
    }
    return CloudEvent(attributes, DATA)


def main(job: dict[str, Any]) -> None:
    def post(body: bytes, headers: dict[str, str]) -> int:
        headers = {**headers, "X-Write-Key": job["key"]}
        return requests.post(job["url"], data=body, headers=headers, timeout=10).status_code

    binary = to_binary_event(event(job, "binary"))
    structured = to_structured_event(event(job, "structured"))
    batch = b",".join(JSONFormat().write(event(job, f"batch-{n}")) for n in range(3))
    statuses = {
        "binary": post(binary.body, binary.headers),
        "structured": post(structured.body, structured.headers),
        "batch": post(b"[" + batch + b"]", {"Content-Type": "application/cloudevents-batch+json"}),
    }
    print(json.dumps(statuses))


if __name__ == "__main__":
    main(json.load(sys.stdin))
