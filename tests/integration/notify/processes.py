"""notify as a real process of its own, to be killed and frozen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.inbox.server import Inbox
from libs.common.testing import eventually

ROOT = Path(__file__).parents[3]
LEASE_SECONDS, TIMEOUT_SECONDS, MARGIN_SECONDS = 2.0, 1.0, 0.3


@dataclass
class Process:
    """``log`` is where it writes its log lines."""

    running: asyncio.subprocess.Process
    log: Path

    async def until_dead(self) -> int:
        """The exit status; negative for the signal that ended it."""
        return await asyncio.wait_for(self.running.wait(), 30)

    async def until_frozen(self) -> None:
        async def is_stopped() -> bool:
            return self._state() == "T"

        await eventually(is_stopped, within_seconds=20, what="the process is frozen")

    def thaw(self) -> None:
        os.kill(self.running.pid, signal.SIGCONT)

    async def until_it_says(self, event: str) -> None:
        """Until a log line with this event key has been written."""

        async def said() -> bool:
            return self._has_said(event)

        await eventually(said, within_seconds=20, what=f"the process says {event}")

    def _state(self) -> str:
        return Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def _has_said(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()


def environment(database_url: str, inbox: Inbox) -> dict[str, str]:
    """What notify needs to be sent out against the inbox with short times; Slack is added by the caller."""
    return {
        "KIZASHI_DATABASE_URL": database_url,
        "KIZASHI_ENVIRONMENT": "test",
        "KIZASHI_CONFIG_DIR": str(ROOT / "config"),
        "KIZASHI_NOTIFY_PORT": "0",
        "KIZASHI_NOTIFY_SMTP_HOST": "127.0.0.1",
        "KIZASHI_NOTIFY_SMTP_PORT": str(inbox.smtp_port),
        "KIZASHI_NOTIFY_SMTP_TLS": "none",
        "KIZASHI_NOTIFY_LEASE_SECONDS": str(LEASE_SECONDS),
        "KIZASHI_NOTIFY_CLIENT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "KIZASHI_NOTIFY_SETTLE_MARGIN_SECONDS": str(MARGIN_SECONDS),
    }


def by_bot(inbox: Inbox) -> dict[str, str]:
    return {
        "KIZASHI_NOTIFY_SLACK_BOT_TOKEN": inbox.slack_token,
        "KIZASHI_NOTIFY_SLACK_API_URL": inbox.slack_api_url,
    }


def by_webhook(inbox: Inbox) -> dict[str, str]:
    return {"KIZASHI_NOTIFY_SLACK_WEBHOOK_URL": inbox.slack_webhook_url}


@contextlib.asynccontextmanager
async def process(variables: Mapping[str, str], *command: str, **more_variables: str) -> AsyncIterator[Process]:
    """A module and its arguments (notify itself, unless given) as a process that is ended with the block."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
    with tempfile.NamedTemporaryFile(prefix="kizashi-notify-", suffix=".log") as log:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *(command or ("services.notify",)),
            cwd=ROOT,
            env={**clean, **variables, **more_variables},
            stderr=log,
        )
        try:
            yield Process(started, Path(log.name))
        finally:
            with contextlib.suppress(ProcessLookupError):
                started.kill()
            await started.wait()
