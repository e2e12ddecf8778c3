"""kizashi: ask the services what they know, and tell them what to do."""

from __future__ import annotations

import click

from cli.accounts import account, accounts, sources, timeline
from cli.dead_letters import dlq
from cli.delivery_mode import notify
from cli.doctor.command import doctor
from cli.log import log
from cli.log_create import create
from cli.log_move import move


@click.group(
    epilog="Addresses and key come from KIZASHI_CLI_{INGEST,HEALTH,PLAYBOOK,NOTIFY}_URL and KIZASHI_CLI_API_KEY, else "
    "from the run.json that `make run` keeps in .kizashi (or KIZASHI_HOME)."
)
@click.version_option(package_name="kizashi", message="%(prog)s %(version)s")
def main() -> None:
    """Kizashi notices the first sign that a customer is drifting."""


for command in (accounts, account, timeline, sources, notify, dlq, log, doctor):
    main.add_command(command)
log.add_command(create)
log.add_command(move)

if __name__ == "__main__":
    main()
