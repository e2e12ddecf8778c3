"""A service of nothing, for the tests of the runtime: python -m tests.integration.sample_service PORT BEHAVIOUR."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from libs.common.errors import NotStarted, RetryLater
from libs.common.observability import configure_logging
from libs.common.runtime import Service, run
from libs.common.web import Probes, make_app


class Note:
    """A file in which the test reads what happened."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_there(self) -> bool:
        return self._path.exists()

    def add(self, words: str) -> None:
        with self._path.open("a") as file:
            file.write(words)


def compose() -> Service:
    port, behaviour, note = int(sys.argv[1]), sys.argv[2], Note(Path(sys.argv[3]))
    configure_logging("sample", "info")
    probes = Probes()
    stopping = asyncio.Event()
    app = make_app("Sample", "Nothing", probes)

    @app.get("/slow")
    async def slow() -> dict[str, bool]:
        await asyncio.sleep(1)
        return {"slow": True}

    async def open_it() -> None:
        if behaviour == "waits" and not note.is_there():
            raise RetryLater("the note is not there yet")
        if behaviour == "refuses":
            raise NotStarted("The sample refuses to start; ask it something else.")

    async def work() -> None:
        if behaviour == "dies":
            raise ValueError("the work is undoable")
        if behaviour == "refuses later":
            raise NotStarted("The sample finds the world unacceptable; change the world.")
        if behaviour == "hangs":
            await asyncio.Event().wait()
        while behaviour == "clings":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await stopping.wait()
        note.add("finished")

    async def close_it() -> None:
        note.add(" closed")

    return Service(
        name="sample",
        app=app,
        probes=probes,
        host="127.0.0.1",
        port=port,
        open=[open_it],
        tasks=[work],
        close=[close_it],
        stopping=stopping,
    )


if __name__ == "__main__":
    run(compose)
