"""Named places where a test lets a process die as kill -9 would, to show that nothing is lost or doubled there."""

from __future__ import annotations

import os
import re
import signal

from libs.common.errors import NotStarted

_armed: dict[str, int] = {}


def arm(specification: str, environment: str) -> None:
    """Arm ``name`` or ``name:nth`` (comma separated): the nth time that this process passes it, it is killed.

    Raises NotStarted for what cannot be read, and for anything at all in production.
    """
    _armed.clear()
    if not specification:
        return
    if environment == "production":
        raise NotStarted("KIZASHI_FAILPOINTS kills the process on purpose and is refused in production; unset it.")
    for part in specification.split(","):
        found = re.fullmatch(r"([a-z_.]+)(?::([1-9][0-9]*))?", part.strip())
        if found is None:
            raise NotStarted(f"KIZASHI_FAILPOINTS: {part.strip()!r} is not name or name:nth; correct or unset it.")
        _armed[found[1]] = int(found[2] or 1)


def failpoint(name: str) -> None:
    """Dies here if a test asked for it; costs one look into an empty dict otherwise."""
    if not _armed or name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
