"""Whatever the batches, the order among partitions, the duplicates and the re-deliveries: the state is the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.event_log import Batch, ReadRecord, TopicPartition
from libs.common.events import TelemetryReceived, encode
from libs.common.topics import Topic
from tests.integration.common.conftest import World
from tests.integration.common.scripted_log import ScriptedLog
from tests.integration.common.tally import tally, telemetry

workspaces = count(100)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[Batch]]:
    """A number of events, and one way in which they may arrive: each at least once, on any partition, in any order,
    with holes between them, in batches of any size, some of which are delivered again."""
    events = draw(st.integers(1, 25))
    arriving = draw(st.permutations([*range(events), *draw(st.lists(st.integers(0, events - 1), max_size=10))]))
    partitions: dict[int, list[int]] = {}
    for n in arriving:
        partitions.setdefault(draw(st.integers(0, 2)), []).append(n)
    waiting = [list(draw(batches_of(partition, numbers))) for partition, numbers in partitions.items()]
    script: list[Batch] = []
    while waiting:
        chosen = draw(st.sampled_from(waiting))
        batch = chosen.pop(0)
        script += [batch] * draw(st.sampled_from([1, 1, 1, 2]))
        if draw(st.booleans()):
            script.append(draw(st.sampled_from(script)))  # a zombie comes late
        waiting = [batches for batches in waiting if batches]
    return events, script


@st.composite
def batches_of(draw: st.DrawFn, partition: int, numbers: Sequence[int]) -> list[Batch]:
    batches = []
    start = 0
    left = list(numbers)
    while left:
        taken = [left.pop(0) for _ in range(len(left) - draw(st.integers(0, len(left))))]
        records = []
        end = start
        for n in taken:
            end += draw(st.integers(0, 3))
            records.append(ReadRecord(b"", str(n).encode(), {}, end))
            end += 1
        end += draw(st.integers(0, 2))
        batches.append(Batch(TopicPartition(Topic.TELEMETRY, partition), start, end, records))
        start = end
    return batches


def in_workspace(batch: Batch, workspace: int) -> Batch:
    records = [
        ReadRecord(b"", encode(telemetry(int(one.value), workspace=workspace)), {}, one.offset) for one in batch.records
    ]
    return Batch(batch.source, batch.start, batch.end, records)


def expected(events: Sequence[TelemetryReceived]) -> dict[str, tuple[object, ...]]:
    accounts: dict[str, list[TelemetryReceived]] = {}
    for event in events:
        accounts.setdefault(str(event.account_id), []).append(event)
    return {
        account: (len(its), min(one.occurred_at for one in its), max(one.occurred_at for one in its))
        for account, its in accounts.items()
    }


@given(delivery=deliveries())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_way_of_delivery_gives_the_same_state(world: World, delivery: tuple[int, list[Batch]]) -> None:
    events, script = delivery
    workspace = next(workspaces)
    await world.owner.execute("TRUNCATE tally.consumer_position, tally.outbox")
    log = ScriptedLog([in_workspace(batch, workspace) for batch in script])
    async with world.running(tally(log, world.worker)):
        await log.delivered.wait()

    rows = await world.owner.fetch("SELECT event_id, times FROM tally.effect WHERE workspace_id = $1", workspace)
    assert {row["event_id"]: row["times"] for row in rows} == {f"message-{n}": 1 for n in range(events)}
    assert await world.ask("SELECT count(*) FROM tally.outbox") == events
    accounts = await world.owner.fetch("SELECT * FROM tally.account WHERE workspace_id = $1", workspace)
    assert {row["account_id"]: (row["events"], row["first_at"], row["last_at"]) for row in accounts} == expected(
        [telemetry(n) for n in range(events)]
    )
    latest = {row["account_id"]: row["last_event"].split()[-1] for row in accounts}
    assert latest == {f"account-{n % 7}": f"message-{n}" for n in range(events)}
