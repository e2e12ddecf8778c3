"""The same town, load and checker see it when a guard is missing; else that they see nothing would prove nothing.

The modules ``test_negative_controls_…`` run these, each in one town.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.faults.checker import Finding, check
from tests.faults.history import History
from tests.faults.inject import restart
from tests.faults.old_records import positions_of, readable
from tests.faults.processes import Supervised
from tests.faults.running import Run, under_load
from tests.faults.sabotage import CONTROLS, WITHIN_SECONDS, Control, command
from tests.faults.schedule import FreezeAt
from tests.faults.town import READY_SECONDS, Town

STORIES = {"pool": 6, "mail": 60}
RATE = 60.0
STILL_SECONDS = 6.0
"""What a missing guard leaves behind waits for ever; a busy machine moves, however slowly."""


@asynccontextmanager
async def sabotaged(town: Town, name: str) -> AsyncIterator[Supervised]:
    """Both processes of the control's service run without the guard for the length of the block. The one that it gives
    is started last, with the control's failpoint armed: so the other one leads where there is one leader."""
    control = CONTROLS[name]
    processes = town.of(control.service)
    whole = [process.command for process in processes]
    struck = processes[0]
    try:
        for process in reversed(processes):
            process.command = command(name)
            await restart(process, **(control.armed if process is struck else {}))
            await town.until_ready(READY_SECONDS)
        yield struck
    finally:
        for process, its in zip(processes, whole, strict=True):
            process.command = its
            await process.end()
        await asyncio.gather(*(process.start() for process in processes))
        await town.until_ready(READY_SECONDS)


async def strike(run: Run, control: Control, struck: Supervised) -> None:
    """While more is under way than one process can do before the fault is over, however fast the machine is."""
    run.load.tell(len(run.load.untold))
    match control.fault:
        case FreezeAt(within_seconds=within_seconds, seconds=seconds):
            await struck.until_frozen(within_seconds)
            await asyncio.sleep(seconds)
            if control.overtaken:
                await until_all_is_read(run.town)
            struck.thaw()
        case fault:

            async def met() -> bool:
                return await run.strike(fault)

            await eventually(met, within_seconds=WITHIN_SECONDS, what=f"somebody meets {fault}")


async def until_all_is_read(town: Town) -> None:
    """What stands in the topic of telemetry by now, by whoever is at work."""
    async with readable(town) as log:
        ends = await log.ends()

    async def is_read() -> bool:
        positions = await positions_of(town, "health", Topic.TELEMETRY)
        return all(position >= ends[place] for place, position in positions.items())

    await eventually(is_read, within_seconds=WITHIN_SECONDS, what="the others have read what it has in hand")


async def caught(town: Town, name: str) -> tuple[History, list[Finding]]:
    """What the checker finds of the control's kind, in a run that the control's fault has struck."""
    control = CONTROLS[name]
    async with sabotaged(town, name) as struck, under_load(town, stories=STORIES, rate=RATE) as run:
        run.recorder.still_seconds = STILL_SECONDS
        await strike(run, control, struck)
    findings = check(run.history)
    assert control.kind in {finding.kind for finding in findings}, [str(finding) for finding in findings]
    return run.history, [finding for finding in findings if finding.kind is control.kind]


class NegativeControls:
    async def test_a_naive_outbox_poller_loses_what_commits_late(self, town: Town) -> None:
        history, lost = await caught(town, "naive-outbox-poller")
        touches = {touch.touch_id for touch in history.touches}
        assert [left.what for left in history.waiting] == ["outbox of playbook"]
        assert {finding.subject for finding in lost} <= touches, "playbook knows them, and never published them"

    async def test_without_the_compare_and_set_a_zombie_doubles(self, town: Town) -> None:
        """Without claims a copy on the log counts, too. What counts more often than it stands there, two have read."""
        history, doubled = await caught(town, "no-compare-and-set")
        on_log = Counter(record.event_id for record in history.log or ())
        names = {sent.message_id: (sent.account_id, sent.event) for sent in history.sent}
        counted = {(one.account_id, one.event): one.count for one in history.counted}
        messages = [finding.subject.split(", ") for finding in doubled]
        beyond = [ids for ids in messages if counted[names[ids[0]]] > sum(on_log[one] for one in ids)]
        assert beyond, list(map(str, doubled))

    async def test_slack_sdk_with_its_default_retries_tells_twice(self, town: Town) -> None:
        history, twice = await caught(town, "slack-default-retries")
        assert {finding.subject for finding in twice} <= {
            row.touch_id for row in history.deliveries if row.state == "sent"
        }
