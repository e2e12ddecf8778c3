"""Which installation is looked at: that of the environment, else the one that `make run` runs on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.apis import DEFAULT_PORTS, run_file, running_here, url_variable
from libs.common.errors import NotStarted
from libs.common.secret_files import secrets_by_file
from libs.common.settings import SERVICES

DATABASE_URL = "KIZASHI_DATABASE_URL"


@dataclass(frozen=True)
class Address:
    """Of a service. ``is_known``: somebody named it, so that something must answer there."""

    url: str
    is_known: bool


@dataclass(frozen=True)
class Surroundings:
    looked_at: str
    addresses: Mapping[str, Address]


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """The environment, and for the length of the block in it what the settings of `make run` are, if there is one.

    An environment that names a database is an installation of its own: nothing of another one is mixed into it.
    """
    running = {} if _names_a_database() else running_here()
    added = {name: value for name, value in _settings_of(running).items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield Surroundings(
            looked_at=f"the installation that runs from {run_file().parent}"
            if running
            else "the environment's settings",
            addresses={name: _address(name, running) for name in SERVICES},
        )
    finally:
        for name in added:
            del os.environ[name]


def _names_a_database() -> bool:
    try:
        return bool(os.environ.get(DATABASE_URL)) or DATABASE_URL in secrets_by_file()
    except NotStarted:  # told by whoever reads the settings
        return True


def _settings_of(running: Mapping[str, Any]) -> Mapping[str, str]:
    log = str(running.get("log", ""))
    settings = {DATABASE_URL: running.get("database"), "KIZASHI_LOG_URL": log if log.startswith("kafka://") else None}
    found = {**settings, **running.get("settings", {})}
    return {name: str(value) for name, value in found.items() if value is not None}


def _address(service: str, running: Mapping[str, Any]) -> Address:
    named = os.environ.get(url_variable(service)) or running.get("urls", {}).get(service)
    return Address(str(named or f"http://127.0.0.1:{DEFAULT_PORTS[service]}").rstrip("/"), named is not None)
