"""make stop: ends what runs from this home, in good order, or what a killed start left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from time import monotonic, sleep

from deploy.local import kafka, leftovers, postgres
from deploy.local.home import Front, Home, InFront
from deploy.local.settings import LocalSettings
from libs.common.errors import NotStarted

STOP_SECONDS = 12.0


def stop(settings: LocalSettings) -> None:
    """Raises NotStarted when what runs there does not end in time."""
    home = Home(settings.home.expanduser().absolute())
    if not home.path.is_dir():
        print(f"Nothing has ever run from {home.path}.")
        return
    ended: list[str] = []
    stopped = _end(home.front, lambda: ended.extend(_left_by_run(home)))
    stopped |= _end(home.kafka_front, lambda: ended.extend(_left_by_kafka(home)))
    if ended:
        print(f"Ended what was left running: {', '.join(ended)}.")
    elif not stopped:
        print("Nothing was running.")
    if stopped:
        print("Stopped.")


def _left_by_run(home: Home) -> list[str]:
    ended = leftovers.end_leftovers(home)
    if kafka.stop_left_running(home.kafka):
        ended.append("kafka")
    if postgres.stop_left_running(home.postgres):
        ended.append("postgres")
    home.run_file.unlink(missing_ok=True)
    return ended


def _left_by_kafka(home: Home) -> list[str]:
    return ["the broker of `make kafka`"] if kafka.stop_left_running(home.kafka_alone) else []


def _end(front: Front, end_leftovers: Callable[[], None]) -> bool:
    """Whether somebody was in front, who is told to stop; where nobody is, what he left behind is ended."""
    try:
        with front.held():
            end_leftovers()
            return False
    except InFront:
        _stop(front.holder())
        return True


def _stop(pid: int | None) -> None:
    if pid is not None and leftovers.runs(pid):
        os.kill(pid, signal.SIGTERM)
        deadline = monotonic() + STOP_SECONDS
        while leftovers.runs(pid):
            if monotonic() > deadline:
                raise NotStarted(f"Process {pid} did not stop within {STOP_SECONDS:.0f} s; kill -9 it and try again.")
            sleep(0.1)
