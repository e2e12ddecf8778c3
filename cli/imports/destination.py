"""Where an import goes: which ingest, with which write key, into which source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from cli.apis import Apis, running_here, urls_found
from cli.imports.problems import Misused
from cli.imports.write_key import GivenKey, OwnKey
from cli.sources import source_named

WRITE_KEY_VARIABLE = "KIZASHI_CLI_WRITE_KEY"
_PREFIX = "kzw_"


@dataclass(frozen=True)
class Destination:
    """``source`` as the API shows it; None when nobody says whose the write key is."""

    url: str
    key: GivenKey | OwnKey
    source: dict[str, Any] | None

    @property
    def source_id(self) -> int | None:
        return self.source["id"] if self.source else None

    @property
    def write_key(self) -> str:
        """Raises Misused when one has to be made, and cannot be."""
        with _as_misuse():
            return self.key.value()

    @property
    def key_digest(self) -> str:
        """Stands for the write key where it must not be; nothing does for one that lives no longer than the import."""
        if isinstance(self.key, OwnKey):
            return ""
        return hashlib.sha256(self.write_key.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        if self.source is None:
            return f"the source of the write key, at {self.url}"
        return f"source {self.source['id']}, {self.source['name']}"


@contextmanager
def destination(source: str | None, write_key: str | None) -> Iterator[Destination]:
    """For ``source``, by number or name, a write key is made and revoked at the end, which needs an API key of the
    scope admin. Else ``write_key``, the environment's or that of `make run`. Raises Misused."""
    if source is not None and write_key is not None:
        raise click.UsageError("A write key belongs to one source: name --source or --write-key.")
    url = urls_found()["ingest"]
    if source is None:
        key = write_key or os.environ.get(WRITE_KEY_VARIABLE) or running_here().get("write_key")
        if not key:
            raise Misused(
                f"No write key: name a source (--source NAME, which needs an API key of the scope admin), or give one "
                f"of its keys (--write-key, {WRITE_KEY_VARIABLE})."
            )
        yield Destination(url, GivenKey(key), _source_of(key))
        return
    with _as_misuse():
        apis = Apis.found()
        found = source_named(apis, source)
    own = OwnKey(apis, found["id"])
    try:
        yield Destination(url, own, found)
    finally:
        own.end()


def _source_of(write_key: str) -> dict[str, Any] | None:
    """Whose the key is, if an API key is there that may know: only to say it."""
    key_id = write_key.removeprefix(_PREFIX).partition("_")[0]
    try:
        apis = Apis.found()
        for source in apis.get("ingest", "/v1/sources"):
            if any(key["id"] == key_id for key in apis.get("ingest", f"/v1/sources/{source['id']}/write-keys")):
                found: dict[str, Any] = source
                return found
    except click.ClickException:
        pass
    return None


@contextmanager
def _as_misuse() -> Iterator[None]:
    try:
        yield
    except click.ClickException as exc:
        raise Misused(exc.message) from exc
