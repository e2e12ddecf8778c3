"""Where the partitions of the log in PostgreSQL begin and end, and when what waits in them was appended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import TopicPartition
from libs.common.event_log_postgres.session import LogSession
from libs.common.topics import PARTITIONS, Topic


class Places:
    """Asks by ``session``, and writes nothing. ``meet`` comes first."""

    def __init__(self, session: LogSession) -> None:
        self._session = session
        self._identity: str | None = None
        self._numbers: Mapping[Topic, Sequence[int]] = {}

    async def meet(self) -> None:
        """Learn what the database knows. Raises NotStarted when that is not what this release expects, or when the log
        was moved away."""
        identity = await self._session.fetch("SELECT id, moved_to FROM log.identity")
        _refuse_moved(identity[0]["moved_to"])
        rows = await self._session.fetch("SELECT topic, number FROM log.topic_partition ORDER BY topic, partition")
        numbers = {topic: [row["number"] for row in rows if row["topic"] == topic] for topic in Topic}
        for topic, found in numbers.items():
            if len(found) != PARTITIONS:
                raise NotStarted(
                    f"The event log has {len(found)} partitions of {topic} where this release needs {PARTITIONS}; "
                    "run the migrations (python -m libs.common.migrate)."
                )
        self._numbers, self._identity = numbers, str(identity[0]["id"])

    async def identity(self, topic: Topic) -> str:
        if self._identity is None:
            raise RetryLater("the event log is not open")
        return self._identity

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._borders("next", topics)

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._borders("earliest", topics)

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        numbers = {self.numbers_of(source.topic)[source.partition]: source for source in positions}
        rows = await self._session.fetch(
            "SELECT given.number, first.appended_at "
            "FROM unnest($1::smallint[], $2::bigint[]) AS given (number, position) "
            "CROSS JOIN LATERAL (SELECT r.appended_at FROM log.record r WHERE r.number = given.number "
            "AND r.position >= given.position ORDER BY r.position LIMIT 1) AS first",
            list(numbers),
            [positions[source] for source in numbers.values()],
        )
        return {numbers[number]: appended_at for number, appended_at in rows}

    def numbers_of(self, topic: Topic) -> Sequence[int]:
        """By which the database knows the topic's partitions."""
        if not self._numbers:
            raise RetryLater("the event log is not open")
        return self._numbers[topic]

    async def _borders(self, column: str, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        """Raises NotStarted too, so that a process which was forgotten on a log that was moved away ends."""
        rows = await self._session.fetch(
            f"SELECT topic, partition, {column}, moved_to FROM log.topic_partition, log.identity "
            "WHERE topic = ANY ($1)",
            [topic.value for topic in topics],
        )
        found = {}
        for topic, partition, position, moved_to in rows:
            _refuse_moved(moved_to)
            found[TopicPartition(Topic(topic), partition)] = position
        return found


def _refuse_moved(place: str | None) -> None:
    if place is not None:
        raise NotStarted(
            f"The event log of this database was moved to {place}; set KIZASHI_LOG_URL to where it is now (kizashi log "
            "move brings it back)."
        )
