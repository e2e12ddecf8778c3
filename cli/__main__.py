"""kizashi: ask the services what they know, and tell them what to do."""

from __future__ import annotations

import click

from cli.commands import Commands, Later

LATER = {
    "accounts": Later("cli.accounts", "Every customer account with its score; by band or segment."),
    "account": Later("cli.accounts", "One account's score, and what gives and costs its points."),
    "timeline": Later("cli.accounts", "What happened to an account, and what was done or why not."),
    "sources": Later("cli.sources", "The products that send events, importing or live; new ones."),
    "keys": Later("cli.keys", "The write keys by which products send: make, change, rotate, revoke."),
    "import": Later("cli.imports.command", "Files of accounts or events, as history, each row once.", "import_file"),
    "tail": Later("cli.tail", "Did my event arrive? Events as they come, and why others were refused."),
    "notify": Later("cli.delivery_mode", "What leaves the house: observe, enable, or stop everything."),
    "doctor": Later("cli.doctor.command", "What is wrong with the installation, and what to do."),
    "log": Later("cli.log", "The event log: who is late, what stands still; make, move or adopt it."),
    "api-keys": Later("cli.api_keys", "The keys of people and scripts, with their scopes.", "api_keys"),
    "dlq": Later("cli.dead_letters", "Records that a service refused: see them, give them back."),
}
SECTIONS = {
    "Customers": ["accounts", "account", "timeline"],
    "Products that send": ["sources", "keys", "import", "tail"],
    "What people are told": ["notify"],
    "The installation": ["doctor", "log", "dlq", "api-keys"],
}


@click.group(
    cls=Commands,
    later=LATER,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command has its own --help. Beside `make run` it finds key and addresses itself, in run.json of "
    "its folder .kizashi (or KIZASHI_HOME). Elsewhere set KIZASHI_CLI_API_KEY, and where the services do not answer "
    "on this machine KIZASHI_CLI_{INGEST,HEALTH,PLAYBOOK,NOTIFY}_URL.",
)
@click.version_option(package_name="kizashi", message="%(prog)s %(version)s")
def main() -> None:
    """Kizashi notices the first sign that a customer is drifting, says why, and starts the right conversation in time.

    \b
    Examples:
      kizashi accounts --band red     who is in danger
      kizashi account customer-42     why
      kizashi timeline customer-42    what was done about it
      kizashi notify mode             whether anybody is told at all
      kizashi doctor                  whether everything works
    """


if __name__ == "__main__":
    main()
