"""Named places where a test lets a process die as kill -9 would, to show that nothing is lost or doubled there."""

from __future__ import annotations

import os
import signal

from libs.common.errors import NotStarted

_armed: dict[str, int] = {}


def arm(specification: str, environment: str) -> None:
    """Arm ``name`` or ``name:nth`` (comma separated): the nth time that this process passes it, it is killed."""
    _armed.clear()
    if not specification:
        return
    if environment == "production":
        raise NotStarted("KIZASHI_FAILPOINTS kills the process on purpose and is refused in production; unset it.")
    for part in specification.split(","):
        name, _, nth = part.strip().partition(":")
        _armed[name] = int(nth or 1)


def failpoint(name: str) -> None:
    """Dies here if a test asked for it; costs one look into an empty dict otherwise."""
    if not _armed or name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
