"""Where ingest's CPU time goes, in batches and single calls: each part's share, and the functions that cost most."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bench.figures import Measured, NotMeasured
from bench.ingest import BATCHES, SINGLES
from bench.load import drive, find_wrk
from bench.progress import tell
from bench.sampling import Sampled
from bench.sizes import Size
from bench.stage import stage
from deploy.local.supervisor import ROOT

PARTS: Mapping[str, tuple[str, ...]] = {
    "judging": ("/services/ingest/domain/",),
    "log": ("/services/ingest/publisher.py", "/libs/common/event", "/libs/common/topics.py", "/aiokafka/", "/asyncpg/"),
    "request": ("/services/ingest/", "/libs/common/asgi.py", "/libs/common/deadline.py"),
    "server": ("/uvicorn/", "/httptools/", "/libs/common/http_", "/asyncio/"),
    "metrics": ("/prometheus_client/",),
}
"""By what the names of their files contain; the first that fits."""
REST = "rest"
TOP = 12
LEAST_SAMPLES = 200


async def run(engine: str, size: Size) -> Measured:
    find_wrk()
    figures: dict[str, float] = {}
    async with stage(engine) as ours:
        for name, load in (("ingest_batch100", BATCHES), ("ingest_single", SINGLES)):
            found = ours.folder / f"{name}.json"
            ingest = await ours.start(name, "bench.ingest_sampled", settings_of="ingest", arguments=[str(found)])
            seconds = size.ingest_warm_seconds + size.ingest_seconds
            await drive(load, ingest.url, ours.keys.write_key, seconds, ours.folder)
            await ours.end(ingest)
            figures |= shares(name, msgspec.json.decode(found.read_bytes(), type=Sampled))
    return figures


def shares(name: str, sampled: Sampled) -> Measured:
    """Raises NotMeasured when too little was seen to say anything."""
    total = sum(sampled.files.values())
    if total < LEAST_SAMPLES:
        raise NotMeasured(f"{name} was looked at {total} times; for shares that mean something, give it more load.")
    parts = dict.fromkeys((*PARTS, REST), 0)
    for file, count in sampled.files.items():
        parts[_part_of(file)] += count
    tell(f"{name}: what costs most")
    for function, count in sorted(sampled.functions.items(), key=lambda one: -one[1])[:TOP]:
        tell(f"{count / total:6.1%}  {_shortened(function)}")
    return {f"{name}_in_{part}_share": count / total for part, count in parts.items()}


def _part_of(file: str) -> str:
    return next((part for part, names in PARTS.items() if any(name in file for name in names)), REST)


def _shortened(function: str) -> str:
    return function.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
