"""make faults: random schedules of faults against a town under load, each printed in full before it runs.

python -m tests.faults [--seed N] [--count N] [--log postgres|kafka|both] [--logs FOLDER] [FAULT ...]

FAULT is a line as a schedule prints it («7.5 freeze service=health member=1 seconds=4.0»); with some given they are the
schedule, run ``count`` times. Exit status 1 when something was lost, doubled, told twice or stuck: the findings are
printed, and the history and the logs of that run kept.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from libs.common.errors import NotStarted
from libs.common.observability import configure_logging
from tests.faults.checker import check
from tests.faults.history import save
from tests.faults.running import under_load
from tests.faults.schedule import Engine, Fault, lines, parse, schedule
from tests.faults.table import HEADINGS, Row, lines_of, row_of
from tests.faults.town import Town, town

FINDINGS_SHOWN = 20
LOGS = Path(".kizashi") / "faults"


async def _run(engines: Sequence[Engine], seeds: Sequence[int], given: Sequence[Fault], logs: Path) -> int:
    rows: list[Row] = []
    failed: list[str] = []
    for engine in engines:
        async with town(engine, logs / engine) as ours:
            for seed in seeds:
                faults = tuple(given) or schedule(seed, engine)
                if not await _one(ours, seed, faults, logs, rows):
                    failed.append(f"seed {seed} on {engine}")
    _say("", *lines_of([HEADINGS, *rows]), "")
    if failed:
        _say(
            f"{len(failed)} of {len(rows)} runs broke a promise: {', '.join(failed)}. Histories and logs are in {logs}."
        )
        return 1
    _say(f"{len(rows)} runs, and every promise was kept.")
    return 0


async def _one(ours: Town, seed: int, faults: Sequence[Fault], logs: Path, rows: list[Row]) -> bool:
    _say("", f"seed {seed} on {ours.engine}", *(f"  {line}" for line in lines(faults).splitlines()))
    started = monotonic()
    try:
        async with under_load(ours, seed=seed) as run:
            await run.strike_all(faults)
    except Exception as exc:
        _say(f"  FAILED in the middle: {_reason(exc)}")
        rows.append(Row(f"schedule {seed}", ours.engine, "-", "-", "-", "failed"))
        return False
    findings = check(run.history)
    row = row_of(f"schedule {seed}", run.history)
    rows.append(row)
    missed = f", {len(run.missed)} of {len(faults)} met nothing" if run.missed else ""
    _say(
        f"  {row.accepted} accepted, {row.applied} applied, {row.told} told, {row.seconds_to_recover} s to recover"
        f" ({monotonic() - started:.0f} s in all{missed})"
    )
    if findings:
        kept = logs / f"{ours.engine}-{seed}.json"
        save(run.history, kept)
        _say(f"  {len(findings)} FINDINGS, of which the first:", *(f"    {one}" for one in findings[:FINDINGS_SHOWN]))
        _say(f"  the whole history is in {kept}")
    return not findings


def _reason(exc: BaseException) -> str:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {exc}"


def _say(*said: str) -> None:
    print(*said, sep="\n", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.faults", description="Random schedules of faults.")
    options.add_argument("--seed", type=int, default=1, help="the first")
    options.add_argument("--count", type=int, default=1, help="how many, from that on")
    options.add_argument("--log", choices=[*Engine, "both"], default="both", help="the engine of the event log")
    options.add_argument("--logs", type=Path, default=LOGS, help="where logs and histories of failed runs are kept")
    options.add_argument("faults", nargs="*", metavar="FAULT", help="lines to run instead of a random schedule")
    arguments = options.parse_args()
    configure_logging("faults", "error")
    arguments.logs.mkdir(parents=True, exist_ok=True)
    engines = list(Engine) if arguments.log == "both" else [Engine(arguments.log)]
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    try:
        given = [parse(line) for line in arguments.faults]
        sys.exit(asyncio.run(_run(engines, seeds, given, arguments.logs.absolute())))
    except (NotStarted, ValueError) as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
