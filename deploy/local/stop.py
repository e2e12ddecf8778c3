"""make stop: ends what runs from this home, in good order, or what a killed start left behind."""

from __future__ import annotations

import psutil

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
    try:
        if pid is not None:
            front = psutil.Process(pid)
            front.terminate()
            front.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise NotStarted(f"Process {pid} did not stop within {STOP_SECONDS:.0f} s; kill -9 it and try again.") from None
    print("Stopped.")
