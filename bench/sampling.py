"""Where a process spends its CPU time, looked at once in so much of it: by a signal, so that neither waiting nor other
processes count, and what is written in C counts for the function of Python that called it."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec

EVERY_SECONDS = 0.001
"""Of CPU time; as often as the kernel's clock ticks, where that is less often."""


class Sampled(msgspec.Struct):
    """How often each file was at work, and each function, as ``file:function``."""

    files: dict[str, int]
    functions: dict[str, int]


@contextlib.contextmanager
def sampled(into: Path) -> Iterator[None]:
    """Of what the block does in the main thread; ``into`` gets it as JSON when the block ends."""
    files: Counter[str] = Counter()
    functions: Counter[str] = Counter()

    def look(_signal: int, frame: FrameType | None) -> None:
        if frame is not None:
            files[frame.f_code.co_filename] += 1
            functions[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        into.write_bytes(msgspec.json.encode(Sampled(dict(files), dict(functions))))
