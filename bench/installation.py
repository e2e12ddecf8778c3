"""A whole installation on a stage: the four services, one process each, and an inbox for what they tell."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from bench.figures import NotMeasured
from bench.stage import Stage
from deploy.local.inbox.server import TOKEN, slack_api_url
from deploy.local.supervisor import ROOT
from libs.common.db import asyncpg_url
from libs.common.testing import eventually, free_port

OUR_CONFIG = Path(__file__).parent / "config"
SERVICES = ("ingest", "health", "playbook", "notify")
HOURLY_CAP = 100_000
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Alert:
    """A message that Slack took, and when notify had it in its ledger."""

    account: str
    in_ledger_at: datetime
    slack_at: datetime


class Installation:
    """Its workspace is live and may tell as much as it likes."""

    def __init__(self, stage: Stage, http: httpx.AsyncClient, owner: asyncpg.Connection) -> None:
        self.stage = stage
        self.owner = owner
        self._http = http
        self._asking = asyncio.Lock()

    def url(self, name: str) -> str:
        return self.stage.actors[name].url

    async def get(self, name: str, path: str, **query: Any) -> Any:
        answer = await self._http.get(f"{self.url(name)}{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    async def ask(self, question: str, *arguments: object) -> Any:
        """PostgreSQL's single answer. One question at a time."""
        async with self._asking:
            return await self.owner.fetchval(question, *arguments)

    async def until_applied(self, events: int, within_seconds: float) -> None:
        """Every event is counted, and the accounts that it concerns are found. Raises NotMeasured."""
        await self._until(events, ("requests",), within_seconds)

    async def until_scored(self, events: int, within_seconds: float) -> None:
        """Every event is counted, and every account that it concerns is scored. Raises NotMeasured."""
        await self._until(events, ("requests", "dirty"), within_seconds)

    async def _until(self, events: int, queues: Sequence[str], within_seconds: float) -> None:
        progress: dict[str, Any] = {}

        async def applied() -> bool:
            await asyncio.sleep(LOOK_SECONDS)  # asking costs, and what it costs would be measured with the rest
            progress.update(await self.get("health", "/v1/progress"))
            return progress["usage_total"] >= events and not any(progress["waiting"][queue] for queue in queues)

        try:
            await eventually(applied, within_seconds=within_seconds, what="everything is applied")
        except AssertionError as exc:
            raise NotMeasured(f"{events} events were accepted: {exc}; health says {progress}") from exc
        if progress["usage_total"] != events:
            raise NotMeasured(f"{events} events were accepted, and {progress['usage_total']} were applied")

    async def read_at(self) -> dict[str, datetime]:
        """When the transaction was committed in which health read an account's first ticket, by account."""
        return await self._committed_at("health.occurrence", "true")

    async def lowered_at(self) -> dict[str, datetime]:
        """When the transaction was committed that first lowered an account's score, by account."""
        return await self._committed_at("health.score_history", "score < 100")

    async def _committed_at(self, table: str, wanted: str) -> dict[str, datetime]:
        async with self._asking:
            rows = await self.owner.fetch(
                f"SELECT account_id, min(pg_xact_commit_timestamp(xmin)) AS at FROM {table} "
                f"WHERE workspace_id = $1 AND {wanted} GROUP BY account_id",
                self.stage.keys.workspace,
            )
        return {row["account_id"]: row["at"] for row in rows}

    async def alerts(self) -> list[Alert]:
        """Every message that is in Slack now. Raises NotMeasured for one that the ledger does not have as sent."""
        rows = await self.owner.fetch(
            "SELECT delivery_id, account_id, created_at, state FROM notify.delivery WHERE workspace_id = $1",
            self.stage.keys.workspace,
        )
        sent = {str(row["delivery_id"]): row for row in rows if row["state"] == "sent"}
        messages = (await self.get("inbox", "/v1/messages", channel="slack"))["messages"]
        found = [(message, message["metadata"]["event_payload"]["delivery_id"]) for message in messages]
        if strangers := [number for _, number in found if number not in sent]:
            raise NotMeasured(f"Slack has {len(strangers)} messages that the ledger does not have as sent")
        return [
            Alert(
                account=sent[number]["account_id"],
                in_ledger_at=sent[number]["created_at"],
                slack_at=datetime.fromisoformat(message["received_at"]),
            )
            for message, number in found
        ]

    async def _open(self) -> None:
        keys = self.stage.keys
        live = await self._http.post(f"{self.url('ingest')}/v1/sources/{keys.source}/live")
        live.raise_for_status()
        caps = {"slack": HOURLY_CAP, "email": HOURLY_CAP}
        wanted = {"mode": "enabled", "kill_switch": False, "hourly_cap": caps}
        mode = await self._http.put(f"{self.url('notify')}/v1/delivery-mode", json=wanted)
        mode.raise_for_status()


@asynccontextmanager
async def installation(stage: Stage, domain_clock: Path | None = None) -> AsyncIterator[Installation]:
    """``domain_clock``: the file that declares domain time, else it is real time."""
    config = stage.folder / "config"
    shutil.copytree(ROOT / "config", config, ignore=shutil.ignore_patterns("playbooks"))
    shutil.copytree(OUR_CONFIG, config, dirs_exist_ok=True)
    smtp_port = str(free_port())
    ports = ("--port", "{port}", "--smtp-port", smtp_port)
    inbox = await stage.start("inbox", "deploy.local.inbox", arguments=ports)
    environment = {
        "KIZASHI_CONFIG_DIR": str(config),
        "KIZASHI_NOTIFY_SLACK_API_URL": slack_api_url(inbox.url),
        "KIZASHI_NOTIFY_SLACK_BOT_TOKEN": TOKEN,
        "KIZASHI_NOTIFY_SMTP_HOST": "127.0.0.1",
        "KIZASHI_NOTIFY_SMTP_PORT": smtp_port,
        "KIZASHI_NOTIFY_SMTP_TLS": "none",
    }
    if domain_clock is not None:
        environment["KIZASHI_DOMAIN_CLOCK_FILE"] = str(domain_clock)
    for service in SERVICES:
        await stage.start(service, **environment)
    owner = await asyncpg.connect(asyncpg_url(stage.owner_url), timeout=10, command_timeout=60)
    try:
        headers = {"authorization": f"Bearer {stage.keys.api_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as http:
            made = Installation(stage, http, owner)
            await made._open()
            yield made
    finally:
        await owner.close()
