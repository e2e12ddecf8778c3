"""How the members of a consumer group share partitions on every engine: an advisory lock per partition, even shares."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic

from libs.common.event_log import TopicPartition
from libs.common.observability import get_logger
from libs.common.ownership import LockSession, fair_share, lock_number
from libs.common.topics import PARTITIONS, Topic

logger = get_logger(__name__)

SHARE_SECONDS = 0.25
"""Between two looks at who is a member and who owns what."""
DROPPED_SECONDS = 1.0
"""Before a partition that was dropped is asked for again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a member should give up because it is above its share, and what it may ask for because it is below."""

    surplus: Sequence[TopicPartition]
    wanted: Sequence[TopicPartition]


class Sharing:
    """One member's part in its group.

    All members hold one lock together, which shows how many they are; each partition has a lock that one of them
    holds. ``locks`` is open, and whoever opened it closes it: that frees everything. No call may be made from two
    tasks at once, and every one may raise RetryLater when the lock session is lost, with all that was owned.
    """

    def __init__(self, group: str, topics: Collection[Topic], locks: LockSession) -> None:
        self._group = group
        self._topics = sorted(set(topics))
        self._locks = locks
        self._members_lock = lock_number(f"log group {group}")
        self._partition_locks = {
            (source := TopicPartition(topic, partition)): lock_number(
                f"log group {group} {source.topic}/{source.partition}"
            )
            for topic in self._topics
            for partition in range(PARTITIONS)
        }
        self._dropped_until: dict[TopicPartition, float] = {}
        self._next_look = 0.0
        self._joined = False

    @property
    def alive(self) -> bool:
        """Whether what we took is still ours as far as we can know."""
        return self._locks.alive

    @property
    def due(self) -> bool:
        """Whether it is time for another look."""
        return monotonic() >= self._next_look

    async def look(self, owned: Collection[TopicPartition]) -> Plan:
        """Compare what this member owns with its fair share."""
        if not self._joined:
            await self._locks.join(self._members_lock)
            self._joined = True
        holders = await self._locks.holders([self._members_lock, *self._partition_locks.values()])
        members = sorted(holders[self._members_lock])
        rank = members.index(self._locks.pid)
        shares = fair_share(rank, len(members), len(self._topics), PARTITIONS)
        now = monotonic()
        surplus: list[TopicPartition] = []
        wanted: list[TopicPartition] = []
        for topic, share in zip(self._topics, shares, strict=True):
            ours = sorted(source for source in owned if source.topic == topic)
            surplus += ours[share:]
            free = [
                source
                for source, lock in self._partition_locks.items()
                if source.topic == topic and lock not in holders and self._dropped_until.get(source, 0) <= now
            ]
            # Members that come together begin at different places, so that few of them ask for the same ones.
            begin = len(free) * rank // len(members)
            wanted += (free[begin:] + free[:begin])[: max(share - len(ours), 0)]
        self._next_look = now + SHARE_SECONDS
        return Plan(surplus, wanted)

    async def take(self, wanted: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
        """Ask for these; the answer names those that are ours now."""
        if not wanted:
            return []
        won = await self._locks.try_lock([self._partition_locks[source] for source in wanted])
        taken = [source for source in wanted if self._partition_locks[source] in won]
        if taken:
            logger.info("partitions_taken", group=self._group, taken=len(taken))
        return taken

    async def release(self, sources: Sequence[TopicPartition]) -> None:
        """Leave these to others."""
        if sources:
            await self._locks.unlock([self._partition_locks[source] for source in sources])
            logger.info("partitions_released", group=self._group, released=len(sources))

    async def drop(self, source: TopicPartition) -> None:
        """Release one that somebody else seems to work on, and do not ask for it again at once."""
        self._dropped_until[source] = monotonic() + DROPPED_SECONDS
        await self.release([source])
