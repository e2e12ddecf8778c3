"""make bench: how fast, at what cost, and compared with what.

python -m bench [--log postgres|kafka] [--quick] [--only SCENARIO,…] [--plot]

Progress goes to stderr; to stdout a table for people and, as its last line, one JSON object with the median of each
figure; with --plot a picture of them goes to docs/bench-<engine>.svg. Exit status 1 when something that was to be
measured did not happen, 2 when something is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path

from bench.figures import Figure, Measured, NotMeasured, figures_of
from bench.plot import svg
from bench.progress import tell
from bench.scenarios import LONG, SCENARIOS, Scenario, choose
from bench.sizes import FULL, QUICK, Size
from bench.table import json_line, table
from deploy.local.kafka_jars import fetch_jars, find_java
from libs.common.errors import NotStarted
from libs.common.observability import configure_logging

PICTURES = Path(__file__).parents[1] / "docs"


async def _measure(scenarios: Mapping[str, Scenario], engine: str, size: Size) -> list[Figure]:
    """Run by run, so that a slow minute of the machine does not fall on all runs of one scenario."""
    runs: list[Measured] = []
    for number in range(1, size.runs + 1):
        for name, scenario in scenarios.items():
            if number > 1 and name in LONG:
                continue
            tell(f"run {number} of {size.runs} on {engine}: {name}")
            runs.append(await scenario(engine, size))
    return figures_of(runs)


async def _until_told_to_stop(work: Coroutine[object, object, list[Figure]]) -> list[Figure]:
    """SIGTERM ends it in good order, as Ctrl-C does: servers are stopped, folders removed."""
    working = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    return await working


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench", description="How fast Kizashi is on this machine.")
    options.add_argument("--log", choices=("postgres", "kafka"), default="postgres", help="engine of the event log")
    options.add_argument("--quick", action="store_true", help="one short run")
    options.add_argument("--only", default="", metavar="NAME,…", help=f"some of {', '.join(SCENARIOS)}")
    options.add_argument("--plot", action="store_true", help="draw the figures into docs/bench-<engine>.svg")
    arguments = options.parse_args()
    size = QUICK if arguments.quick else FULL
    configure_logging("bench", "error")
    try:
        scenarios = choose((name for name in arguments.only.split(",") if name), quick=arguments.quick)
        if arguments.log == "kafka":
            find_java()
            fetch_jars(tell=tell)
        figures = asyncio.run(_until_told_to_stop(_measure(scenarios, arguments.log, size)))
        if arguments.plot:
            title = f"Kizashi on {arguments.log}, {os.cpu_count()} cores: median, least and most of {size.runs} runs"
            PICTURES.joinpath(f"bench-{arguments.log}.svg").write_text(svg(figures, title))
        print(table(figures))
        print(json_line(figures, log=arguments.log, runs=size.runs, quick=arguments.quick))
    except NotMeasured as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


if __name__ == "__main__":
    main()
