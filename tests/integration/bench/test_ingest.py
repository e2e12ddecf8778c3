"""The scenario of ingest, as short as can be, on a real PostgreSQL and with real load."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench import ingest
from bench.figures import NotMeasured, figures_of
from bench.load import drive
from bench.sizes import QUICK
from libs.common.errors import NotStarted

TINY = replace(QUICK, ingest_warm_seconds=0, ingest_seconds=1)
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


async def test_a_run_measures_what_it_says_and_each_figure_has_a_unit(wrk: str) -> None:
    measured = await ingest.run("postgres", TINY)
    assert set(measured) == {
        *(f"ingest_batch100_{what}" for what in ("events_per_s", "p50_ms", "p99_ms", "over_raw_append")),
        *(f"ingest_single_{what}" for what in ("requests_per_s", "p50_ms", "p99_ms")),
        *(
            f"ingest_{load}_{what}"
            for load in ("batch100", "single")
            for what in ("over_noop_log", "over_echo", "cpu_s_per_million", "store_cpu_s_per_million", "load_cpu_share")
        ),
        "raw_append_events_per_s",
        "raw_append_cpu_s_per_million",
        "ingest_rss_mb",
    }
    assert all(figure.unit and figure.least > 0 for figure in figures_of([measured]))
    assert measured["ingest_batch100_over_echo"] < 1


async def test_a_refused_request_is_no_measurement(wrk: str, tmp_path: Path) -> None:
    async with _answering(REFUSAL) as url:
        with pytest.raises(NotMeasured, match=r"not all were answered with 200: [0-9]+ refused"):
            await drive(ingest.SINGLES, url, "key", 1, tmp_path)


async def test_nobody_there_is_no_measurement(wrk: str, tmp_path: Path) -> None:
    async with _answering(REFUSAL) as url:
        pass
    with pytest.raises(NotMeasured, match="unable to connect"):
        await drive(ingest.SINGLES, url, "key", 1, tmp_path)


async def test_without_wrk_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    with pytest.raises(NotStarted, match="apt-get install wrk"):
        await ingest.run("postgres", TINY)


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[str]:
    """A server that gives the same answer to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65_536):
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass  # wrk hangs up when its time is over
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
