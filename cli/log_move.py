"""kizashi log move: leaves one event log for another. It works on the databases, since every service is stopped."""

from __future__ import annotations

import asyncio

import click
from pydantic import Field, SecretStr

from cli.printing import line
from libs.common import failpoints
from libs.common.database_urls import owner_database_url
from libs.common.errors import NotStarted
from libs.common.log_move.move import LogMove
from libs.common.log_move.open import destination, origin
from libs.common.settings import CommonSettings, load


class _MoveSettings(CommonSettings):
    """Those of the services, of which only the log's are needed here."""

    database_url: SecretStr = Field(default=SecretStr("postgresql://"), validate_default=False)


@click.command("move")
@click.option("--from", "old", metavar="URL", help="The log to leave; else that of the services' own database.")
@click.option("--to", "new", metavar="URL", help="The log to move to; else KIZASHI_LOG_URL.")
@click.option("--dry-run", is_flag=True, help="Only say what would be moved, and who has to be stopped.")
@click.option("--give-up", is_flag=True, help="Open the old log again, as long as no position has left it.")
def move(old: str | None, new: str | None, dry_run: bool, give_up: bool) -> None:
    """Move the installation to another event log, with nothing lost or doubled.

    Stop all services first, and start them with the new KIZASHI_LOG_URL afterwards. Until its last step the
    installation belongs to the old log. It may be killed anywhere and is then run again. The page is
    docs/moving-the-log.md.

    Reads KIZASHI_OWNER_DATABASE_URL, and for Kafka on either side the KIZASHI_LOG_… variables of the services.
    """
    try:
        settings = load(_MoveSettings)
        failpoints.arm(settings.failpoints, settings.environment)
        owner_url, access = owner_database_url(), settings.kafka_access
        work = LogMove(owner_url, origin(old or owner_url, owner_url, access), tell=line)
        if give_up:
            asyncio.run(work.give_up())
            return
        url = new or (settings.log_url.get_secret_value() if settings.log_url else None)
        if url is None:
            raise NotStarted("No log to move to: give --to, or set KIZASHI_LOG_URL as the services will have it.")
        asyncio.run(work.run(destination(url, owner_url, access), dry=dry_run))
    except NotStarted as problem:
        raise click.ClickException(str(problem)) from problem
