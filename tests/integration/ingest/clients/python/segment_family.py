"""A product that uses a client of the Segment family, run where nothing but that client is installed.

    python -S segment_family.py segment.analytics.client < jobs.json

A job is {"name", "host", "key", "options", "user", "account", "calls", "padding"}: a client of its own, made with these
options of the client's own. All jobs run at once. What is printed says for each what was sent and what failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=9)))
"""Given as a property too, beside a number that JSON does not have, and characters that are not ASCII."""


def calls_of(client: Any, job: dict[str, Any]) -> dict[str, Callable[[], tuple[bool, dict[str, Any]]]]:
    user, account, padding = job["user"], job["account"], "x" * job["padding"]
    properties = {"n": 1, "share": float("nan"), "when": WHEN, "name": "月次レポート é", "padding": padding}
    return {
        "identify": lambda: client.identify(user, {"name": "山田 太郎", "weight": float("nan"), "since": WHEN}),
        "group": lambda: client.group(user, account, {"name": "東京 GmbH", "seats": 5}),
        "track": lambda: client.track(user, "Report Exported", properties, timestamp=WHEN),
        "page": lambda: client.page(user, "Docs", "Home"),
        "screen": lambda: client.screen(user, "Main"),
        "alias": lambda: client.alias(f"before-{user}", user),
    }


def work(make_client: Callable[..., Any], job: dict[str, Any]) -> dict[str, Any]:
    sent: dict[str, str] = {}
    problems: list[str] = []
    client = make_client(
        job["key"], host=job["host"], on_error=lambda error, _batch: problems.append(str(error)), **job["options"]
    )
    calls = calls_of(client, job)
    for name in job["calls"]:
        try:
            _, message = calls[name]()
        except Exception as error:  # what a client that sends at once has met
            problems.append(str(error))
        else:
            sent[name] = message["messageId"]
    if not job["options"].get("sync_mode"):
        client.shutdown()
    return {"sent": sent, "problems": problems}


def main(module: str, jobs: list[dict[str, Any]]) -> None:
    make_client = import_module(module).Client
    with ThreadPoolExecutor(len(jobs)) as threads:
        done = threads.map(lambda job: work(make_client, job), jobs)
        print(json.dumps({job["name"]: result for job, result in zip(jobs, done, strict=True)}))


if __name__ == "__main__":
    main(sys.argv[1], json.load(sys.stdin))
