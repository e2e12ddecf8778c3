"""make stop: ends what runs from this home, in good order, or what a killed start left behind."""

from __future__ import annotations

import os
import signal
from time import monotonic, sleep

from deploy.local import leftovers, postgres
from deploy.local.home import Home
from deploy.local.settings import LocalSettings
from libs.common.errors import NotStarted

STOP_SECONDS = 12.0


def stop(settings: LocalSettings) -> None:
    """Raises NotStarted when what runs there does not end in time."""
    home = Home(settings.home.expanduser().absolute())
    if not home.path.is_dir():
        print(f"Nothing has ever run from {home.path}.")
        return
    try:
        with home.locked():
            ended = leftovers.end_leftovers(home)
            if postgres.stop_left_running(home.postgres):
                ended.append("postgres")
            home.run_file.unlink(missing_ok=True)
            print(f"Ended what was left running: {', '.join(ended)}." if ended else "Nothing was running.")
    except NotStarted:
        _stop_front(home.holder())


def _stop_front(pid: int | None) -> None:
    if pid is not None and leftovers.runs(pid):
        os.kill(pid, signal.SIGTERM)
        deadline = monotonic() + STOP_SECONDS
        while leftovers.runs(pid):
            if monotonic() > deadline:
                raise NotStarted(f"Process {pid} did not stop within {STOP_SECONDS:.0f} s; kill -9 it and try again.")
            sleep(0.1)
    print("Stopped.")
