"""The write key of an import: one that somebody gave, or one of its own for as long as it takes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from cli.apis import Apis

KEY_NAME = "kizashi import"
LIFE = timedelta(days=1)
"""Of a key that is left behind: nobody revokes that of an import which was killed."""
RENEWED_EVERY = LIFE / 4


class GivenKey:
    """Somebody else's to renew and to end."""

    def __init__(self, key: str) -> None:
        self._key = key

    def value(self) -> str:
        return self._key

    async def stay_alive(self) -> None:
        """Until it is cancelled."""

    def end(self) -> None:
        """When the import is over, however."""


class OwnKey:
    """Made when it is first needed, for a look at a file, or one that was sent already, needs none."""

    def __init__(self, apis: Apis, source_id: int, *, renewed_every: timedelta = RENEWED_EVERY) -> None:
        self._apis = apis
        self._path = f"/v1/sources/{source_id}/write-keys"
        self._renewed_every = renewed_every
        self._made: dict[str, Any] | None = None

    def value(self) -> str:
        """Raises ClickException."""
        if self._made is None:
            self._made = self._apis.post("ingest", self._path, {"name": KEY_NAME, "expires_at": _later()})
        key: str = self._made["write_key"]
        return key

    async def stay_alive(self) -> None:
        while self._made is not None:
            await asyncio.sleep(self._renewed_every.total_seconds())
            with suppress(click.ClickException):  # it lives on for long enough to try again
                await asyncio.to_thread(self._renew, self._made["id"])

    def end(self) -> None:
        if self._made is not None:
            with suppress(click.ClickException):
                self._apis.delete("ingest", f"{self._path}/{self._made['id']}")

    def _renew(self, key_id: str) -> None:
        self._apis.patch("ingest", f"{self._path}/{key_id}", {"expires_at": _later()})


def _later() -> str:
    return (datetime.now(UTC) + LIFE).isoformat(timespec="seconds")
