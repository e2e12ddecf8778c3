"""The demo product: sends the history of its customers, then lives on, through a real Segment client.

python -m deploy.local.demo.product --home DIR --ingest URL --health URL

It may be killed at any moment: it goes on from what it wrote down, and what it sends twice carries the same ids.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import segment.analytics

from deploy.local.demo.progress import Phase, Progress
from deploy.local.demo.world import Call, ProductEvent, World
from deploy.local.home import Home, read_json
from libs.common.clock import Declaration, DeclaredClock, wall_now
from libs.common.errors import NotStarted

BATCH = 1000
PACE_SECONDS = 0.25
REAL_TIME_PACE_SECONDS = 2.0
AHEAD_SECONDS = 1.0
"""Real seconds that accelerated time may run ahead of what was sent."""
ARRIVED = timedelta(seconds=30)
"""Time that is so near to now has arrived there and is real."""
SOON_SECONDS = 0.2


class Product:
    """One running demo product. ``stopping`` ends it after the step it is in."""

    def __init__(self, home: Home, ingest_url: str, health_url: str) -> None:
        keys, progress = read_json(home.keys_file), Progress.read(home.product_file)
        if keys is None or progress is None:
            raise NotStarted(f"{home.path} is not the home of a demo; start it with make run.")
        self.stopping = Event()
        self._home = home
        self._progress = progress
        self._world = World(progress.begins, progress.seed)
        self._source = keys["source"]
        self._write_key = keys["write_key"]
        self._ingest_url = ingest_url
        self._ingest = httpx.Client(base_url=ingest_url, timeout=15)
        self._health = httpx.Client(base_url=health_url, timeout=15)
        for client in (self._ingest, self._health):
            client.headers["Authorization"] = f"Bearer {keys['api_key']}"

    def run(self) -> None:
        if self._progress.phase is Phase.SENDING_HISTORY:
            self._send_history()
        if self._progress.phase is Phase.WAITING_FOR_HEALTH:
            self._go_live()
        if self._progress.phase is Phase.LIVE:
            self._live()

    def _note(self, **changes: Any) -> None:
        self._progress = self._progress.model_copy(update=changes)
        self._progress.write(self._home.product_file)

    # --- history, over HTTP ---

    def _send_history(self) -> None:
        events = self._world.between(self._world.history_begins, self._world.begins)
        self._note(history=len(events))
        while not self.stopping.is_set() and (batch := events[self._progress.events_sent :][:BATCH]):
            body = {"batch": [_as_json(event) for event in batch], "historical": True}
            answer = self._patiently("POST", "/v1/import", json=body, auth=(self._write_key, ""))
            if answer is None:
                return
            if answer.get("rejected"):
                raise NotStarted(f"ingest rejected {answer['rejected']} events of the history: {answer['errors'][:1]}")
            self._note(events_sent=self._progress.events_sent + len(batch))
        if self._progress.events_sent == len(events):
            self._note(phase=Phase.WAITING_FOR_HEALTH, sent_until=self._world.begins)

    def _patiently(self, method: str, path: str, **request: Any) -> dict[str, Any] | None:
        """Ingest's answer, however long it takes to come; None when we are told to stop."""
        while not self.stopping.is_set():
            try:
                answer = self._ingest.request(method, path, **request)
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                if answer.status_code not in (429, 503):
                    raise NotStarted(f"ingest answers {answer.status_code} to {path}: {answer.text[:300]}")
            except httpx.TransportError:
                pass
            self.stopping.wait(SOON_SECONDS)
        return None

    # --- from history to life ---

    def _go_live(self) -> None:
        """The source is marked live once all history is counted, and time begins once that makes a baseline."""
        if not self._wait_until(lambda progress: progress["usage_total"] >= self._progress.history):
            return
        if self._patiently("POST", f"/v1/sources/{self._source}/live") is None:
            return
        if self._wait_until(self._has_baseline):
            self._note(phase=Phase.LIVE)

    def _has_baseline(self, progress: dict[str, Any]) -> bool:
        live = all(source["state"] == "live" for source in progress["sources"] if source["source"] == self._source)
        return live and not any(progress["waiting"].values())

    def _wait_until(self, condition: Any) -> bool:
        """Whether health's progress met the condition before we were told to stop."""
        while not self.stopping.is_set():
            try:
                answer = self._health.get("/v1/progress")
                if answer.is_success and condition(answer.json()):
                    return True
            except httpx.TransportError:
                pass
            self.stopping.wait(SOON_SECONDS)
        return False

    # --- life, through the SDK ---

    def _live(self) -> None:
        if not self._wait_until(lambda _progress: True):
            return  # nobody would have been there to see time pass
        clock = DeclaredClock(self._home.clock_file)
        failures: list[Exception] = []
        client = segment.analytics.Client(
            write_key=self._write_key,
            host=self._ingest_url,
            gzip=True,
            upload_interval=0.05,
            on_error=lambda error, _batch: failures.append(error),
        )
        while not self.stopping.is_set():
            until = max(clock.now(), self._progress.sent_until)
            events = self._world.between(self._progress.sent_until, until)
            for event in events:
                _call(client, event)
            client.flush()
            if not failures:
                self._note(sent_until=until, events_sent=self._progress.events_sent + len(events))
                self._let_time_pass(clock)
            failures.clear()
            hurrying = Declaration.read(self._home.clock_file).until is not None
            self.stopping.wait(PACE_SECONDS if hurrying else REAL_TIME_PACE_SECONDS)
        client.join()

    def _let_time_pass(self, clock: DeclaredClock) -> None:
        """Everything that has happened is sent, so time may go on, but not far without us: if we die or ingest does
        not answer, it stands still instead of passing without events."""
        declared, now = Declaration.read(self._home.clock_file), clock.now()
        stands = declared.rate == 0 or (declared.until is not None and now >= declared.until)
        real_pace_from = self._progress.real_pace_from
        if real_pace_from is not None and now >= real_pace_from:
            goes_on = Declaration(wall_anchor=wall_now(), domain_anchor=now, rate=1.0)
            self._note(real_pace_from=None)
        elif declared.rate == 1.0 or (not stands and wall_now() - now < ARRIVED):
            goes_on = replace(declared, until=None)
        else:
            rate = timedelta(days=1).total_seconds() / self._progress.day_seconds
            start = Declaration(wall_anchor=wall_now(), domain_anchor=now, rate=rate) if stands else declared
            goes_on = replace(start, until=now + timedelta(seconds=AHEAD_SECONDS * rate))
        if goes_on != declared:
            goes_on.write(self._home.clock_file)


def _call(client: segment.analytics.Client, event: ProductEvent) -> None:
    """The SDK's call. No account travels with ``track`` and ``page``: whose it is follows from ``group``."""
    when = {"timestamp": event.at, "message_id": event.id}
    match event.call:
        case Call.IDENTIFY:
            client.identify(event.user_id, event.fields, **when)
        case Call.GROUP:
            client.group(event.user_id, event.account_id, event.fields, **when)
        case Call.TRACK:
            client.track(event.user_id, event.name, event.fields, **when)
        case Call.PAGE:
            client.page(event.user_id, name=event.name, properties=event.fields, **when)


def _as_json(event: ProductEvent) -> dict[str, Any]:
    """The same call as it travels."""
    body: dict[str, Any] = {
        "type": event.call.value,
        "messageId": event.id,
        "userId": event.user_id,
        "timestamp": event.at.isoformat(),
        "traits" if event.call in (Call.IDENTIFY, Call.GROUP) else "properties": event.fields,
    }
    match event.call:
        case Call.GROUP:
            body["groupId"] = event.account_id
        case Call.TRACK:
            body["event"] = event.name
        case Call.PAGE:
            body["name"] = event.name
    return body


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m deploy.local.demo.product", description=__doc__)
    options.add_argument("--home", type=Path, required=True)
    options.add_argument("--ingest", required=True, help="its address")
    options.add_argument("--health", required=True, help="its address")
    arguments = options.parse_args()
    try:
        product = Product(Home(arguments.home), arguments.ingest, arguments.health)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: product.stopping.set())
        product.run()
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
