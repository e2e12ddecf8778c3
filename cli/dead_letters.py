"""kizashi dlq: records that a service refused; see them, and give them back once the cause is mended."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from cli.apis import CONSUMERS, Apis
from cli.printing import as_json, columns, line, moment

service_option = click.option("--service", type=click.Choice(CONSUMERS), help="Only this one; else all are asked.")


@click.group("dlq")
def dlq() -> None:
    """Dead letters: records that a service refused, kept with their original bytes.

    \b
    Example:
      kizashi dlq list           what was refused, and why
      kizashi dlq show ID        one of them with its content
      kizashi dlq replay ID      give it back, once the cause is mended
    """


@dlq.command("list")
@service_option
@click.option("--limit", metavar="N", type=click.IntRange(1, 500), default=50, help="Of each service; else 50.")
@click.option("--json", "wants_json", is_flag=True, help="The APIs' own answers, for scripts.")
def list_letters(service: str | None, limit: int, wants_json: bool) -> None:
    """List them, newest first, with the reason."""
    apis = Apis.found()
    letters = [
        {"service": name, **letter}
        for name in ([service] if service else CONSUMERS)
        for letter in apis.get(name, "/v1/dead-letters", limit=limit)
    ]
    letters.sort(key=lambda letter: str(letter["died_at"]), reverse=True)
    if wants_json:
        as_json(letters)
        return
    columns(
        ("id", "service", "topic", "died", "replayed", "reason", "detail"),
        [
            (
                letter["id"],
                letter["service"],
                f"{letter['topic']}/{letter['partition']}@{letter['offset']}",
                moment(letter["died_at"]),
                moment(letter["replayed_at"]),
                letter["reason"],
                letter["detail"].splitlines()[0][:80] if letter["detail"] else "",
            )
            for letter in letters
        ],
        empty="No dead letters.",
    )


@dlq.command("show")
@click.argument("letter_id")
@service_option
@click.option("--json", "wants_json", is_flag=True, help="The API's own answer, with the bytes in base64.")
def show(letter_id: str, service: str | None, wants_json: bool) -> None:
    """Show one letter with its reason and its original content."""
    name, letter = _find(Apis.found(), letter_id, service)
    if wants_json:
        as_json(letter)
        return
    line(f"{letter['reason']}: {letter['detail']}")
    line(f"refused by {name} at {moment(letter['died_at'])} UTC, from {letter['topic']}/{letter['partition']}")
    if letter["replayed_at"]:
        line(f"replayed at {moment(letter['replayed_at'])} UTC")
    click.echo()
    line(letter["text"])


@dlq.command("replay")
@click.argument("letter_id")
@service_option
def replay(letter_id: str, service: str | None) -> None:
    """Give a letter once more to the service that refused it. It can be replayed once."""
    apis = Apis.found()
    name, _ = _find(apis, letter_id, service)
    apis.post(name, f"/v1/dead-letters/{quote(letter_id, safe='')}/replay")
    line(f"{name} gets it again. If it refuses it again, there will be a new letter.")


@dlq.command("allow")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("records", type=click.IntRange(min=1))
@click.option("--service", type=click.Choice(CONSUMERS), required=True, help="The one that has stopped.")
def allow(topic: str, partition: int, records: int, service: str) -> None:
    """Let a stopped partition refuse so many more records.

    A service that refused 25 records in a row stops that partition, so that a bad release does not drain it; its
    /readyz names it. When the records are really bad, this lets it go on.

    \b
    Example:
      kizashi dlq allow telemetry 4 100 --service health
    """
    allowance = {"topic": topic, "partition": partition, "records": records}
    Apis.found().post(service, "/v1/dead-letters/allowance", allowance)
    line(f"{service} may refuse {records} more records of {topic}/{partition}; it tries again within a minute.")


def _find(apis: Apis, letter_id: str, service: str | None) -> tuple[str, dict[str, Any]]:
    """The service that refused it, and the letter."""
    for name in [service] if service else CONSUMERS:
        if letter := apis.get_if_known(name, f"/v1/dead-letters/{quote(letter_id, safe='')}"):
            return name, letter
    raise click.ClickException(f"There is no dead letter {letter_id}.")
