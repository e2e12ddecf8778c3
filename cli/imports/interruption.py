"""Whatever asks an import to end, it ends in order: its journal is written, its own key revoked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ALSO = (signal.SIGTERM, signal.SIGHUP)
"""A service manager's or a closed terminal's."""


@contextmanager
def as_after_ctrl_c() -> Iterator[None]:
    """KeyboardInterrupt for ``ALSO`` too, but for those that somebody has it ignore (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where signals cannot be heard
        return
    heard = [number for number in ALSO if signal.getsignal(number) is signal.SIG_DFL]
    for number in heard:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if callable(signal.getsignal(signal.SIGINT)):
        signal.raise_signal(signal.SIGINT)  # which an event loop takes in good order
    else:
        raise KeyboardInterrupt  # a shell has those in its background ignore Ctrl-C
