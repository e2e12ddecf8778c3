"""Goes on with topics that were made again, or with a log that was set up anew: the one that was read is gone for good.

The command is cli/log_adopt.py, the operator's page docs/when-reading-stops.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from libs.common.errors import NotStarted
from libs.common.event_log import TopicPartition
from libs.common.log_move.copy import Tell
from libs.common.log_move.logs import MovableLog
from libs.common.log_move.positions import Position
from libs.common.log_move.postgres import running
from libs.common.log_move.work import Work, at_work
from libs.common.topics import READERS, Topic

Strays = Mapping[TopicPartition, Position]
"""Positions that belong to another log than the one that is there."""


class LogAdoption:
    """Every position of another log begins at the earliest record that the log, made by ``make_log`` when it is needed,
    holds of its topic. ``owner_url`` is the services' database as its owner; ``tell`` gets a line for the operator."""

    def __init__(
        self, owner_url: str, make_log: Callable[[], MovableLog], *, tell: Tell, readers: Mapping[Topic, str] = READERS
    ) -> None:
        self._owner_url = owner_url
        self._make_log = make_log
        self._readers = readers
        self._tell = tell

    async def describe(self) -> bool:
        """Say what would be done; whether there is anything to be done. Raises NotStarted when it must not be."""
        log = self._make_log()
        async with at_work(self._owner_url, log, self._readers) as work:
            strays = await self._strays(work, log)
            starts, ends = await log.starts(), await log.ends()
        for (topic, service, identity), group in groupby(
            strays.items(), key=lambda one: (one[0].topic, one[1].service, one[1].identity)
        ):
            sources = [source for source, _ in group]
            records = sum(ends[source] - starts[source] for source in sources)
            self._tell(
                f"{service} has read {topic} of the log {identity}, in {len(sources)} partitions. What that log still "
                f"held for it is lost. It begins with the earliest of the {records:,} records of "
                f"{await log.identity(topic)}; those that it has had in the last 7 days have no second effect."
            )
        if not strays:
            self._tell(f"Every position belongs to the log at {log.place}: there is nothing to adopt.")
        return bool(strays)

    async def run(self) -> None:
        """All positions or none. Raises NotStarted with one sentence, after which nothing has changed."""
        log = self._make_log()
        async with at_work(self._owner_url, log, self._readers) as work:
            strays = await self._strays(work, log)
            starts = await log.starts()
            identities = {topic: await log.identity(topic) for topic in Topic}
            await work.positions.begin_anew(strays, identities, starts)
        self._tell(f"{len(strays)} positions begin anew in the log at {log.place}: start the services.")

    async def _strays(self, work: Work, log: MovableLog) -> Strays:
        if await log.moved_to() is not None:
            raise NotStarted(
                f"The log at {log.place} was moved away, so nobody may read it; name the one that is in use."
            )
        if await work.positions.unfinished() is not None:
            raise NotStarted(
                "A move of the log is under way; end it (kizashi log move) or give it up (--give-up) first."
            )
        found = await work.positions.of_services()
        strays = {
            source: position
            for source, position in sorted(found.items())
            if position.identity != await log.identity(source.topic)
        }
        if reading := _who_reads(strays, await running(work.owner)):
            raise NotStarted(
                f"The log that was read is still there for {', '.join(reading)}: is the one at {log.place} the "
                "right one? If so, stop who reads."
            )
        return strays


def _who_reads(strays: Strays, sessions: Sequence[str]) -> Sequence[str]:
    """A service that reads has a session that owns its partitions; without its log it has none."""
    services = {position.service for position in strays.values()}
    return [one for one in sessions if any(one.startswith(f"{service} log owner ") for service in services)]
