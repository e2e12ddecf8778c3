"""Named places where a test lets a process die as kill -9 would, or freeze as SIGSTOP would, to show that nothing is
lost or doubled there."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

from libs.common.errors import NotStarted


@dataclass
class _Armed:
    turns: int
    sent: signal.Signals


_armed: dict[str, _Armed] = {}


def arm(specification: str, environment: str) -> None:
    """Arm ``name``, ``name:nth`` or ``name:nth=freeze`` (comma separated): the nth time that this process passes it,
    it is killed, or frozen until somebody sends SIGCONT.

    Raises NotStarted for what cannot be read, and for anything at all in production.
    """
    _armed.clear()
    if not specification:
        return
    if environment == "production":
        raise NotStarted("KIZASHI_FAILPOINTS kills the process on purpose and is refused in production; unset it.")
    for part in specification.split(","):
        found = re.fullmatch(r"([a-z_.]+)(?::([1-9][0-9]*))?(=freeze)?", part.strip())
        if found is None:
            raise NotStarted(
                f"KIZASHI_FAILPOINTS: {part.strip()!r} is not name, name:nth or name:nth=freeze; correct or unset it."
            )
        _armed[found[1]] = _Armed(int(found[2] or 1), signal.SIGSTOP if found[3] else signal.SIGKILL)


def failpoint(name: str) -> None:
    """Dies or freezes here, once, if a test asked for it; costs one look into an empty dict otherwise."""
    if not _armed or name not in _armed:
        return
    _armed[name].turns -= 1
    if _armed[name].turns == 0:
        os.kill(os.getpid(), _armed.pop(name).sent)
