"""python -m deploy.local run | demo | kafka | move | stop"""

from __future__ import annotations

import argparse
import asyncio
import logging
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
    logging.getLogger().addHandler(logging.NullHandler())  # a person reads our sentences, not what drivers log
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to stop in good order
    options = argparse.ArgumentParser(prog="python -m deploy.local", description="Kizashi on one machine.")
    options.add_argument("what", choices=("run", "demo", "kafka", "move", "stop"))
    what = options.parse_args().what
    try:
        sys.exit(_do(what))
    except asyncio.CancelledError:
        sys.exit(0 if what in ("run", "kafka") else 130)  # Ctrl-C is how these two are meant to end
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


def _do(what: str) -> int:
    """Imports late: the imports take a second, in which Ctrl-C should just end us."""
    from deploy.local.broker import make_kafka_possible, serve
    from deploy.local.settings import load_settings
    from deploy.local.terminal import Terminal

    if what == "demo":
        from deploy.local.demonstrate import demonstrate, forget_the_surroundings

        forget_the_surroundings()
    settings = load_settings()
    if what == "stop":
        from deploy.local.stop import stop

        stop(settings)
        return 0
    if what == "kafka" or settings.brings_a_broker:
        make_kafka_possible(settings, Terminal())
    if what == "kafka":
        return asyncio.run(_until_told_to_stop(serve(settings)))
    if what == "demo":
        return asyncio.run(_until_told_to_stop(demonstrate(settings)))
    if what == "move":
        from deploy.local.move import move

        return asyncio.run(_until_told_to_stop(move(settings)))
    from deploy.local.run import run

    return asyncio.run(_until_told_to_stop(run(settings)))


if __name__ == "__main__":
    main()
