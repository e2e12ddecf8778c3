"""python -m deploy.local run | demo | stop"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from libs.common.errors import NotStarted


async def _until_told_to_stop(work: Coroutine[Any, Any, int]) -> int:
    """The work's exit status. Ctrl-C and SIGTERM end it in good order; more of them do not disturb that."""
    working = asyncio.ensure_future(work)
    told = False

    def stop_once() -> None:
        nonlocal told
        if not told:
            told = working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop_once)
    return await working


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to stop in good order
    options = argparse.ArgumentParser(prog="python -m deploy.local", description="Kizashi on one machine.")
    options.add_argument("what", choices=("run", "demo", "stop"))
    what = options.parse_args().what
    try:
        sys.exit(_do(what))
    except asyncio.CancelledError:
        sys.exit(0 if what == "run" else 130)  # Ctrl-C is how a run is meant to end
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


def _do(what: str) -> int:
    """Imports late: the imports take a second, in which Ctrl-C should just end us."""
    if what == "run":
        from deploy.local.run import run

        return asyncio.run(_until_told_to_stop(run()))
    if what == "demo":
        from deploy.local.demonstrate import demonstrate

        return asyncio.run(_until_told_to_stop(demonstrate()))
    from deploy.local.settings import load_settings
    from deploy.local.stop import stop

    stop(load_settings())
    return 0


if __name__ == "__main__":
    main()
