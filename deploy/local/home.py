"""The folder that one installation lives in: its data, its logs, and who may run it now."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.common.errors import NotStarted


@dataclass(frozen=True)
class Home:
    """``path`` is absolute. Everything that is a secret, or tells one, is readable by its owner alone."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def kafka(self) -> Path:
        """Of an installation that brings its own broker."""
        return self.path / "kafka"

    @property
    def kafka_alone(self) -> Path:
        """Of the broker that `make kafka` runs, for whoever connects to it."""
        return self.path / "kafka-alone"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run_file(self) -> Path:
        """What scripts need while it runs; gone when it does not."""
        return self.path / "run.json"

    @property
    def keys_file(self) -> Path:
        """The workspace and its keys, made once."""
        return self.path / "keys.json"

    @property
    def clock_file(self) -> Path:
        return self.path / "clock.json"

    @property
    def product_file(self) -> Path:
        """How far the demo product has got."""
        return self.path / "product.json"

    @property
    def processes_file(self) -> Path:
        """Who was started from here, so that a later start recognises what an earlier, killed one left."""
        return self.path / "processes.json"

    @property
    def inbox_file(self) -> Path:
        return self.path / "inbox.jsonl"

    def make(self) -> None:
        """Others may pass through the folder: PostgreSQL runs as another user when we are root."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as exc:
            raise NotStarted(f"The folder {self.path} cannot be made ({exc.strerror}); set KIZASHI_HOME.") from exc

    @property
    def front(self) -> Front:
        """Of `make run`."""
        return Front(self.path / "lock", f"Kizashi already runs from {self.path}")

    @property
    def kafka_front(self) -> Front:
        """Of `make kafka`."""
        return Front(self.path / "kafka-alone.lock", f"`make kafka` already runs from {self.path}")


class InFront(NotStarted):
    """Somebody else runs what we would run."""


@dataclass(frozen=True)
class Front:
    """The one process at a time that a person started here. ``already`` says what runs when there is one."""

    lock: Path
    already: str

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else is it during the block. Raises InFront when somebody is."""
        with self.lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InFront(
                    f"{self.already} (process {self.holder()}); stop it with Ctrl-C or `make stop`, or name another "
                    "folder with KIZASHI_HOME."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
            file.truncate(0)

    def holder(self) -> int | None:
        """The process that holds the lock, or that died holding it."""
        try:
            return int(self.lock.read_text())
        except (OSError, ValueError):
            return None


def write_private(path: Path, content: dict[str, Any]) -> None:
    """JSON that only its owner may read, replaced as a whole: a reader never sees half of it."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    beside.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """None when there is no such file. Raises NotStarted when it is not what we wrote."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise NotStarted(f"{path} cannot be read ({exc}); mend it, or delete {path.parent} to begin anew.") from exc
    if not isinstance(found, dict):
        raise NotStarted(f"{path} does not hold what Kizashi wrote there; delete {path.parent} to begin anew.")
    return found
