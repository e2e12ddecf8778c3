"""python -m deploy.local run | demo | stop"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from deploy.local.demonstrate import demonstrate
from deploy.local.run import run
from deploy.local.settings import load_settings
from deploy.local.stop import stop
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
    options = argparse.ArgumentParser(prog="python -m deploy.local", description="Kizashi on one machine.")
    options.add_argument("what", choices=("run", "demo", "stop"))
    try:
        match options.parse_args().what:
            case "run":
                with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how it is meant to end
                    asyncio.run(_until_told_to_stop(run()))
            case "demo":
                sys.exit(asyncio.run(_until_told_to_stop(demonstrate())))
            case _:
                stop(load_settings())
    except asyncio.CancelledError:
        sys.exit(130)
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
