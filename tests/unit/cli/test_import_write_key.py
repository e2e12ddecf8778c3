"""The write key that an import makes for itself: when, for how long, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from cli.apis import Apis
from cli.imports.interruption import ALSO, as_after_ctrl_c
from cli.imports.write_key import KEY_NAME, OwnKey
from libs.common.testing import eventually


class Ingest(Apis):
    """Keeps what it is asked; as long as it is ``away`` it answers nothing."""

    def __init__(self) -> None:
        super().__init__({}, "kzs_x")
        self.asked: list[tuple[str, str]] = []
        self.ends: list[datetime] = []
        self.away: list[bool] = []

    def _ask(self, method: str, service: str, path: str, **request: Any) -> Any:
        self.asked.append((method, path))
        if self.away:
            self.away.pop()
            raise click.ClickException("ingest does not answer")
        if request:
            self.ends.append(datetime.fromisoformat(request["json"]["expires_at"]))
            assert request["json"].get("name", KEY_NAME) == KEY_NAME
        return {"id": "0a1b", "write_key": "kzw_0a1b_x"}


KEYS = "/v1/sources/2/write-keys"


def test_it_is_made_when_it_is_needed_and_ends_by_itself_within_a_day() -> None:
    ingest = Ingest()
    key = OwnKey(ingest, 2)
    key.end()
    assert ingest.asked == [], "who sends nothing needs none"
    assert key.value() == key.value() == "kzw_0a1b_x"
    assert ingest.ends[0] <= datetime.now(UTC) + timedelta(days=1)
    key.end()
    assert ingest.asked == [("POST", KEYS), ("DELETE", f"{KEYS}/0a1b")]


async def test_it_lives_for_as_long_as_the_import_does() -> None:
    ingest = Ingest()
    key = OwnKey(ingest, 2, renewed_every=timedelta(milliseconds=1))
    key.value()
    ingest.away = [True]
    staying = asyncio.create_task(key.stay_alive())

    async def renewed() -> bool:
        return len(ingest.ends) > 2

    await eventually(renewed, what="a key that is renewed, once more after nobody answered")
    assert not staying.done()
    staying.cancel()
    assert set(ingest.asked[1:]) == {("PATCH", f"{KEYS}/0a1b")}


@pytest.mark.parametrize("number", ALSO)
def test_whatever_asks_it_to_end_is_as_ctrl_c(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), as_after_ctrl_c():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with as_after_ctrl_c():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
