"""What a move asks of a log beside the port: records from any place, and that it takes no more of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from libs.common.event_log import ReadRecord, TopicPartition
from libs.common.topics import Topic

NAME = "kizashi log move"
"""The sessions of a move begin their names with this."""
RUN_AGAIN = "What was done is kept: once it works, run the same command again, and it goes on from there."
BATCH_RECORDS = 5_000
BATCH_BYTES = 4_000_000


class MovableLog(Protocol):
    """A log that can be left, and come back to. Calls raise NotStarted, or RetryLater when it does not answer."""

    @property
    def place(self) -> str:
        """Its address without a login, for people."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def identity(self, topic: Topic) -> str: ...

    async def starts(self) -> Mapping[TopicPartition, int]: ...

    async def ends(self) -> Mapping[TopicPartition, int]: ...

    async def read(self, source: TopicPartition, start: int, end: int) -> Sequence[ReadRecord]:
        """The next records from ``start`` on, before ``end``: some of them, or none when there is none."""

    async def running(self) -> Sequence[str]:
        """Who is connected to it, as far as it can tell."""

    async def moved_to(self) -> str | None:
        """Where its seal says that it is; None without a seal."""

    async def seal(self, place: str) -> None:
        """From now on it takes no append: none that is on its way slips behind the ends that are asked next."""

    async def unseal(self) -> None: ...
