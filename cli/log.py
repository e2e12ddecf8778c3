"""kizashi log: how far the services have read the event log, what stands still, and the way on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from cli.apis import CONSUMERS, Apis
from cli.commands import Commands, Later
from cli.options import yes_option
from cli.printing import age, as_json, columns, line, moment

LATER = {
    "create": Later("cli.log_create", "Make its topics on Kafka where they are missing."),
    "move": Later("cli.log_move", "Take the installation to another log, with nothing lost or doubled."),
    "adopt": Later(
        "cli.log_adopt", "Begin anew in the log that is there, when the one that was read is gone for good."
    ),
}


@click.group("log", cls=Commands, later=LATER)
def log() -> None:
    """The event log between the services: how far each has read it, and what to do when one cannot.

    status and skip ask the services, with an API key of the scope operator. The others work on a stopped installation,
    with its settings. docs/when-reading-stops.md and docs/moving-the-log.md say more.
    """


@log.command("status")
@click.option("--group", type=click.Choice(CONSUMERS), help="Only this service; else all are asked.")
@click.option("--all", "wants_all", is_flag=True, help="Partitions in which nothing waits, too.")
@click.option("--json", "wants_json", is_flag=True, help="The APIs' own answers.")
def status(group: str | None, wants_all: bool, wants_json: bool) -> None:
    """Show who is late, by how much, and what stands still.

    By service and topic, then each partition in which something waits, then those that are stopped, each with its way
    out. `oldest` is how long the oldest record has waited.

    Exit status 1 when a service does not answer.
    """
    apis = Apis.found()
    answers: list[dict[str, Any]] = []
    silent: list[click.ClickException] = []
    for name in [group] if group else CONSUMERS:
        try:
            answers.append(apis.get(name, "/v1/log"))
        except click.ClickException as exc:
            silent.append(exc)
    if wants_json:
        as_json(answers)
    else:
        _show(answers, wants_all)
    for problem in silent:
        problem.show()
    sys.exit(1 if silent else 0)


def _show(answers: Sequence[dict[str, Any]], wants_all: bool) -> None:
    partitions = [{"group": answer["group"], **one} for answer in answers for one in answer["partitions"]]
    columns(("group", "topic", "lag", "oldest", "stopped"), _totals(partitions), empty="Nobody reads the log.")
    shown = [one for one in partitions if wants_all or one["lag_records"] or one["stopped"]]
    if shown:
        click.echo()
        columns(
            ("group", "topic", "partition", "position", "end", "lag", "oldest", "caught up to"),
            [
                (
                    one["group"],
                    one["topic"],
                    one["partition"],
                    one["position"],
                    one["end"],
                    one["lag_records"],
                    age(one["lag_seconds"]),
                    moment(one["caught_up_to"]),
                )
                for one in shown
            ],
            empty="",
        )
    for one in partitions:
        if one["stopped"]:
            click.echo()
            line(f"{one['group']}: {one['stopped']['why']}")
            line(one["stopped"]["way_out"])


def _totals(partitions: Sequence[dict[str, Any]]) -> list[tuple[object, ...]]:
    """One row for each topic of each group."""
    by_topic: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in partitions:
        by_topic.setdefault((one["group"], one["topic"]), []).append(one)
    return [
        (
            group,
            topic,
            sum(one["lag_records"] for one in ones),
            age(max(one["lag_seconds"] for one in ones)),
            sum(1 for one in ones if one["stopped"]),
        )
        for (group, topic), ones in by_topic.items()
    ]


@log.command("skip")
@click.argument("group", type=click.Choice(CONSUMERS))
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.option("--to", required=True, metavar="PLACE", help="earliest, latest, or a position that the log holds.")
@click.option("--force", is_flag=True, help="Also when nothing is lost there.")
@yes_option
def skip(group: str, topic: str, partition: int, to: str, force: bool, yes: bool) -> None:
    """Move the place from which a service reads a partition.

    The way on when the log does not hold any more what the service must read next. What is passed over is lost to that
    service; what is moved back is read again, and has no second effect as long as its claims are remembered (7 days).
    It says what will be lost and asks before it does anything.

    \b
    Example:
      kizashi log skip health telemetry 4 --to earliest
    """
    apis = Apis.found()
    found = _partition(apis.get(group, "/v1/log"), topic, partition)
    place, position = f"{topic}/{partition}", found["position"]
    is_lost = found["stopped"] is not None and found["stopped"]["cause"] == "lost"
    if position is None:
        raise click.ClickException(f"{group} has not read {place} yet, so there is no position to move.")
    if not is_lost and not force:
        raise click.ClickException(f"Nothing is lost in {place}: {group} reads on from {position}. --force moves it.")
    target = _target(to, found)
    line(f"{group} is at {position} of {place}; the log holds {found['earliest']} to {found['end']}.")
    for consequence in _consequences(group, found, target):
        line(consequence)
    if not yes:
        click.confirm(f"Move the position to {target}?", abort=True)
    wanted = {"topic": topic, "partition": partition, "to": target, "expected": position, "force": force}
    moved = apis.post(group, "/v1/log/skip", wanted)
    line(f"Moved from {moved['moved_from']} to {moved['moved_to']}; {group} reads on from there within seconds.")


def _partition(answer: dict[str, Any], topic: str, partition: int) -> dict[str, Any]:
    for one in answer["partitions"]:
        if (one["topic"], one["partition"]) == (topic, partition):
            found: dict[str, Any] = one
            return found
    raise click.ClickException(f"{answer['group']} does not read {topic}/{partition}.")


def _target(to: str, found: dict[str, Any]) -> int:
    if to in ("earliest", "latest"):
        return int(found["earliest" if to == "earliest" else "end"])
    if not to.isdecimal():
        raise click.BadParameter("say earliest, latest, or a number", param_hint="--to")
    return int(to)


def _consequences(group: str, found: dict[str, Any], target: int) -> list[str]:
    """In sentences."""
    position, end = found["position"], found["end"]
    told = []
    if target > position:
        told.append(f"{target - position} records are passed over: what they held is lost to {group}.")
        if found["caught_up_to"] is not None:
            told.append(
                "Time goes on as if nothing had happened in them: an account whose only signs of life they were may be "
                "called silent."
            )
    if position > end:
        then = "all of it is read again" if target == found["earliest"] else f"what lies before {target} is passed over"
        told.append(f"The log ends before the position, so nobody can tell what of it was read: {then}.")
    if min(position, end) > target:
        told.append(
            f"{min(position, end) - target} records are read again. Those that {group} has had in the last 7 days have "
            "no second effect; older ones do."
        )
    return told
