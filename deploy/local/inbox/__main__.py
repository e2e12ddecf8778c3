"""python -m deploy.local.inbox: the inbox alone, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from deploy.local.inbox.server import running_inbox
from libs.common.errors import NotStarted


async def _run(arguments: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running_inbox(
        arguments.journal, host=arguments.host, port=arguments.port, smtp_port=arguments.smtp_port
    ) as inbox:
        print(f"inbox: {inbox.url}  SMTP: {arguments.host}:{inbox.smtp_port}", flush=True)
        await stopping.wait()


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m deploy.local.inbox", description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8084, help="of the page, its JSON and the Slack double")
    options.add_argument("--smtp-port", type=int, default=8025)
    options.add_argument("--journal", type=Path, default=None, help="where to keep what was delivered; else memory")
    try:
        asyncio.run(_run(options.parse_args()))
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
