"""Runs the inbox: SMTP and HTTP in the event loop of the caller, each on a port that is free or asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP

from deploy.local.inbox import api, slack_api
from deploy.local.inbox.dropping import DroppableConnection
from deploy.local.inbox.faults import Faults
from deploy.local.inbox.mail import MESSAGE_BYTES, Mailbox, password_check
from deploy.local.inbox.messages import Messages
from deploy.local.inbox.slack import Slack
from libs.common.errors import NotStarted
from libs.common.web import Probes, make_app

TOKEN = "xoxb-local-inbox"  # noqa: S105
WEBHOOK_SECRET = "local-inbox"  # noqa: S105
WEBHOOK_CHANNEL = "cs-alerts"
"""The inbox opens to whoever reaches its loopback port, so its token protects nothing and is no secret."""


@dataclass(frozen=True)
class Inbox:
    """A running inbox. What arrived is in ``messages``; ``faults.add(Fault(…))`` lets the next calls fail."""

    url: str
    smtp_port: int
    messages: Messages
    faults: Faults
    slack_token: str

    @property
    def slack_api_url(self) -> str:
        return slack_api_url(self.url)

    @property
    def slack_webhook_url(self) -> str:
        return slack_webhook_url(self.url)


def slack_api_url(inbox_url: str) -> str:
    return f"{inbox_url}/slack/api/"


def slack_webhook_url(inbox_url: str) -> str:
    return f"{inbox_url}{slack_api.WEBHOOK_PATH}/{WEBHOOK_SECRET}"


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the caller decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def running_inbox(
    journal: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    smtp_port: int = 0,
    slack_channels: frozenset[str] | None = None,
    smtp_tls: ssl.SSLContext | None = None,
    smtp_login: tuple[str, str] | None = None,
) -> AsyncIterator[Inbox]:
    """An inbox for the length of the block; port 0 takes a free one. What ``journal`` holds is shown again.

    ``smtp_tls`` demands STARTTLS, and ``smtp_login`` on top of it this user and password. Raises NotStarted for a port
    in use.
    """
    messages, faults = Messages(journal), Faults()
    mailbox = Mailbox(messages, faults)
    slack = Slack(messages, token=TOKEN, channels=slack_channels)
    app = make_app("Kizashi's local inbox", "What was delivered, and faults for tests.", Probes())
    app.include_router(slack_api.routes(slack, faults, webhook_secret=WEBHOOK_SECRET, webhook_channel=WEBHOOK_CHANNEL))
    app.include_router(api.routes(messages, faults))
    with contextlib.ExitStack() as sockets:
        http_socket = sockets.enter_context(_listen(host, port))
        smtp_socket = sockets.enter_context(_listen(host, smtp_port))
        loop = asyncio.get_running_loop()
        smtp = await loop.create_server(
            lambda: SMTP(
                mailbox,
                data_size_limit=MESSAGE_BYTES,
                enable_SMTPUTF8=True,
                hostname="inbox.localhost",
                ident="Kizashi local inbox",
                tls_context=smtp_tls,
                require_starttls=smtp_tls is not None,
                authenticator=password_check(*smtp_login) if smtp_login else None,
                auth_required=smtp_login is not None,
                loop=loop,
            ),
            sock=smtp_socket,
        )
        config = uvicorn.Config(
            app, log_config=None, access_log=False, http=DroppableConnection, timeout_graceful_shutdown=1
        )
        server = _Server(config)
        # Both sockets listen already: whoever connects before uvicorn has started waits in the backlog.
        serving = asyncio.create_task(server.serve(sockets=[http_socket]), name="inbox http")
        try:
            yield Inbox(
                url=f"http://{host}:{http_socket.getsockname()[1]}",
                smtp_port=int(smtp_socket.getsockname()[1]),
                messages=messages,
                faults=faults,
                slack_token=TOKEN,
            )
        finally:
            server.should_exit = True
            await serving
            smtp.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as exc:
        raise NotStarted(f"The inbox cannot listen on {host}:{port} ({exc.strerror}); is the port in use?") from exc
