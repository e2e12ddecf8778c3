"""What waits in an outbox, oldest first: found by a look at few rows, however many wait or have just been deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.event_log import TopicPartition
from libs.common.topics import PARTITIONS, Topic

PLACE_SHARE = 5
"""While some partitions are left out, each of the others gets this part of a window: so that little is read of them
all, and one alone goes on at a good pace."""
FLOOR_SECONDS = 60.0
"""Between two looks for the floor; several times as long as a transaction may last (see db)."""

_PLACES = [TopicPartition(topic, partition) for topic in Topic for partition in range(PARTITIONS)]

# An outbox is empty most of the time, and by a plan that was made then all of it would be read when it is full.
_BY_INDEX = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "
    "set_config('enable_sort', 'off', true)"
)
_COLUMNS = "id, topic, partition, key, value, headers"
_OF_ALL = f"SELECT {_COLUMNS} FROM outbox WHERE id >= :floor ORDER BY id LIMIT :records"
# Each place's own rows are looked up: those of the places left out may be nearly all that there is. Borders in place of
# equality, and this order, leave the planner no index but that of places.
_OF_SOME = f"""
SELECT {_COLUMNS} FROM (
    SELECT oldest.* FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS given (topic, partition)
    CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM outbox
        WHERE (topic, partition, id) >= (given.topic, given.partition, CAST(:floor AS bigint))
        AND (topic, partition) <= (given.topic, given.partition)
        ORDER BY topic, partition, id LIMIT :of_each
    ) AS oldest
) AS mixed ORDER BY id LIMIT :records
"""
_SIZED = (
    f"SELECT {_COLUMNS} FROM (SELECT *, sum(octet_length(value)) OVER (ORDER BY id) - octet_length(value) AS before "
    "FROM ({rows}) AS oldest) AS sized WHERE before < :bytes ORDER BY id"
)
_SIZED_OF_ALL = _SIZED.format(rows=_OF_ALL)
_SIZED_OF_SOME = _SIZED.format(rows=_OF_SOME)


async def oldest(
    connection: AsyncConnection, without: Collection[TopicPartition], *, records: int, size: int, floor: int
) -> Sequence[Any]:
    """Rows in their order, at most so many and so many bytes, and none of the places in ``without``; of each of the
    others its oldest. ``floor`` as Floor gives it."""
    await connection.execute(text(_BY_INDEX))
    limits: dict[str, Any] = {"records": records, "bytes": size, "floor": floor}
    if not without:
        return (await connection.execute(text(_SIZED_OF_ALL), limits)).all()
    places = [place for place in _PLACES if place not in without]
    some = {
        "topics": [place.topic.value for place in places],
        "partitions": [place.partition for place in places],
        "of_each": max(records // PLACE_SHARE, 1),
    }
    return (await connection.execute(text(_SIZED_OF_SOME), limits | some)).all()


async def age_of_oldest(connection: AsyncConnection, floor: int) -> float | None:
    """In seconds; None when nothing waits."""
    await connection.execute(text(_BY_INDEX))
    age = await connection.execute(
        text(
            "SELECT CAST(extract(epoch FROM clock_timestamp() - created_at) AS float8) FROM outbox WHERE id >= :floor "
            "ORDER BY id LIMIT 1"
        ),
        {"floor": floor},
    )
    found: float | None = age.scalar_one_or_none()
    return found


class Floor:
    """A number below which nothing waits, and nothing will, so that polls pass over what is deleted: as long as a
    backup runs PostgreSQL keeps all of that, and each poll would meet it again.

    A transaction that commits late shows rows below others that are gone already. So what was the lowest number at one
    look counts from the next on, and only if every transaction that had begun to write by then has ended.
    """

    def __init__(self, seconds: float = FLOOR_SECONDS) -> None:
        self.number = 0
        self._seconds = seconds
        self._next_look = 0.0
        self._highest = 0
        self._mark = 0
        self._running_below = 0

    def note(self, numbers: Collection[int]) -> None:
        """Rows that were seen."""
        self._highest = max(self._highest, *numbers, 0)

    async def look(self, connection: AsyncConnection) -> None:
        """When it is time again: this look alone meets everything."""
        if (now := monotonic()) < self._next_look:
            return
        self._next_look = now + self._seconds
        await connection.execute(text(_BY_INDEX))
        row = (
            await connection.execute(
                text(
                    "SELECT (SELECT min(id) FROM outbox) AS lowest, "
                    "CAST(CAST(pg_snapshot_xmin(seen) AS text) AS bigint) AS ended_below, "
                    "CAST(CAST(pg_snapshot_xmax(seen) AS text) AS bigint) AS running_below "
                    "FROM pg_current_snapshot() AS seen"
                )
            )
        ).one()
        if row.ended_below < self._running_below:
            return
        self.number = self._mark if row.lowest is None else min(self._mark, row.lowest)
        self._mark = self._highest + 1 if row.lowest is None else row.lowest
        self._running_below = row.running_below
