"""Which write keys are listed: those that matter, and all of them to who asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from cli.__main__ import main

NOW = datetime.now(UTC)


def key(name: str, **ends_days_ago: int) -> dict[str, Any]:
    ends = {field: (NOW - timedelta(days=days)).isoformat() for field, days in ends_days_ago.items()}
    rules: dict[str, Any] = {"events_per_s": None, "origins": [], "replaced_by": None, "state": "-"}
    return {"id": name, "source": 1, "name": name, "revoked_at": None, "expires_at": None} | rules | ends


KEYS = [
    key("endless"),
    key("tomorrow", expires_at=-1),
    key("revoked-lately", revoked_at=6, expires_at=-90),
    key("expired-lately", expires_at=6),
    key("revoked-long-ago", revoked_at=8, expires_at=-90),
    key("expired-long-ago", expires_at=8),
]


class Ingest(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(KEYS if self.path.endswith("write-keys") else [{"id": 1}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ingest) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setenv("KIZASHI_CLI_INGEST_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("KIZASHI_CLI_API_KEY", "kzs_x")
        yield
        server.shutdown()
        serving.join()


@pytest.mark.usefixtures("ingest")
def test_those_that_ended_long_ago_are_listed_to_who_asks() -> None:
    shown = CliRunner().invoke(main, ["keys", "list"]).stdout
    assert [one["name"] for one in KEYS if one["name"] in shown] == [one["name"] for one in KEYS[:4]]
    assert "2 keys that ended more than 7 days ago not shown; --all shows them." in shown
    of_all = CliRunner().invoke(main, ["keys", "list", "--all"]).stdout
    assert "expired-long-ago" in of_all
    assert "not shown" not in of_all
    assert json.loads(CliRunner().invoke(main, ["keys", "list", "--json"]).stdout) == KEYS
