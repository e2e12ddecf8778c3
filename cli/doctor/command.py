"""kizashi doctor: what is wrong with an installation, and what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from shutil import get_terminal_size
from textwrap import wrap

import click

from cli.doctor.examination import examine
from cli.doctor.findings import Area, Finding, Level, Report
from cli.doctor.surroundings import surroundings
from cli.printing import as_json, counted, line, plain
from libs.common.observability import quiet

COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


@click.command("doctor")
@click.option("--json", "wants_json", is_flag=True, help="For scripts: every finding with a code that stays the same.")
@click.option("--brief", is_flag=True, help="Leave out what is fine.")
@click.option("--no-providers", is_flag=True, help="Do not talk to Slack and the mail server.")
def doctor(wants_json: bool, brief: bool, no_providers: bool) -> None:
    """Look at the whole installation and say what is wrong and what to do.

    Configuration, PostgreSQL, its migrations, the event log and its topics, how far each service has read, what is
    stopped, dead letters, what leaves the house, sources, clocks, the services themselves, Slack and mail.

    It works when the services do not: it asks the database and the log directly. Give it the environment that the
    services have (KIZASHI_DATABASE_URL, KIZASHI_LOG_URL, KIZASHI_SECRETS_DIR …); beside `make run` it needs none.
    It changes nothing, sends nothing to anybody, prints no secret, and never waits long for what does not answer.

    \b
    Exit status:
      0  no problem, though perhaps warnings
      1  a problem
      2  nothing to look at: no database that can be used is named, no service answers

    \b
    Examples:
      kizashi doctor --brief
      kizashi doctor --json | jq '.findings[] | select(.level == "problem")'
    """
    with quiet(), surroundings() as here:
        report = asyncio.run(examine(here, asks_providers=not no_providers))
    shown = report.troubles if brief else report.areas
    if wants_json:
        as_json(_as_document(report, shown))
    else:
        _show(report, shown)
    sys.exit(report.exit_status)


def _as_document(report: Report, shown: Sequence[Area]) -> dict[str, object]:
    return {
        "looked_at": report.looked_at,
        "could_look": report.could_look,
        "problems": report.count(Level.PROBLEM),
        "warnings": report.count(Level.WARNING),
        "ok": report.count(Level.OK),
        "findings": [
            {
                "area": area.name,
                "level": finding.level.value,
                "code": finding.code,
                "about": finding.about or None,
                "sentence": finding.sentence,
                "remedy": finding.remedy,
            }
            for area in shown
            for finding in area.findings
        ],
    }


def _show(report: Report, shown: Sequence[Area]) -> None:
    line(f"Looking at {report.looked_at}.")
    for area in shown:
        _show_area(area)
    click.echo()
    line(_verdict(report))


def _show_area(area: Area) -> None:
    click.echo()
    click.secho(area.name, bold=True)
    for finding in area.findings:
        _show_finding(finding)


def _show_finding(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:<7}", fg=COLOURS[finding.level])
    click.echo(f"  {level}  {_indented(finding.sentence, 11)}")
    if finding.remedy:
        click.echo(f"{'':11}→ {_indented(finding.remedy, 13)}")


def _indented(sentence: str, columns: int) -> str:
    """Broken to the width of a terminal; whole where scripts read it."""
    if not sys.stdout.isatty():
        return plain(sentence)
    wide = max(40, min(120, get_terminal_size().columns) - columns)
    return f"\n{'':{columns}}".join(wrap(plain(sentence), wide, break_on_hyphens=False))


def _verdict(report: Report) -> str:
    if not report.could_look:
        return (
            "Nothing but settings could be looked at: they name no database that can be used, and no service answers. "
            "Give this command the environment of the services, or run it beside `make run` (KIZASHI_HOME names its "
            "folder)."
        )
    problems, warnings = report.count(Level.PROBLEM), report.count(Level.WARNING)
    if not problems and not warnings:
        return "Nothing is wrong."
    told = [counted(number, name) for number, name in ((problems, "problem"), (warnings, "warning")) if number]
    return f"{' and '.join(told)}; {counted(report.count(Level.OK), 'other thing')} looked at and fine."
