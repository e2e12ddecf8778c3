"""kizashi log adopt: the way out when a topic was made again. It works on the databases: who read it does not run."""

from __future__ import annotations

import asyncio
from functools import partial

import click
from pydantic import Field, SecretStr

from cli.options import yes_option
from cli.printing import line
from libs.common.database_urls import owner_database_url
from libs.common.errors import NotStarted
from libs.common.log_move.adopt import LogAdoption
from libs.common.log_move.open import origin
from libs.common.settings import CommonSettings, load


class _LogSettings(CommonSettings):
    """Those of the services, of which only the log's are needed here."""

    database_url: SecretStr = Field(default=SecretStr("postgresql://"), validate_default=False)


@click.command("adopt")
@yes_option
def adopt(yes: bool) -> None:
    """Go on with a log that is not the one that was read, when that one is gone for good.

    For topics that were deleted and made again, or a Kafka that was set up anew. Positions in what is gone begin at the
    earliest record of what is there; what the services had not read of the old log is lost. Where both logs exist,
    `kizashi log move` loses nothing.

    Reads KIZASHI_OWNER_DATABASE_URL, and KIZASHI_LOG_URL with the other KIZASHI_LOG_… variables of the services.
    """
    try:
        settings = load(_LogSettings)
        owner_url = owner_database_url()
        if settings.log_url is None:
            raise NotStarted(
                "KIZASHI_LOG_URL is not set: name the log to go on with, also when it is in PostgreSQL; every position "
                "that belongs to another one begins anew."
            )
        url = settings.log_url.get_secret_value()
        adoption = LogAdoption(owner_url, partial(origin, url, owner_url, settings.kafka_access), tell=line)
        if not asyncio.run(adoption.describe()):
            return
        if not yes:
            click.confirm("Begin anew there?", abort=True)
        asyncio.run(adoption.run())
    except NotStarted as problem:
        raise click.ClickException(str(problem)) from problem
