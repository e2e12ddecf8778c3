"""What a look at the log tells about a topic that lets others go first."""

from __future__ import annotations

from typing import cast

import pytest

from libs.common.db import Database
from libs.common.event_log import TopicPartition
from libs.common.lag import LagWatch
from libs.common.progress import Patience, Progress
from libs.common.stops import Stops
from libs.common.topics import Topic
from tests.integration.common.scripted_log import ScriptedLog

HISTORY = TopicPartition(Topic.TELEMETRY_IMPORT, 0)


class Answering:
    async def ping(self) -> None: ...


@pytest.mark.parametrize("resting", [True, False])
async def test_history_that_lets_news_go_first_is_not_stuck_and_history_beside_nothing_is(resting: bool) -> None:
    log, now = ScriptedLog(), [1000.0]
    log.end[HISTORY] = 5000
    progress = Progress(Patience(), now=lambda: now[0])
    watch = LagWatch(
        group="test",
        log=log,
        database=cast(Database, Answering()),
        topics=[HISTORY.topic],
        positions=lambda: {HISTORY: 0},
        stops=Stops("test", [HISTORY.topic]),
        progress=progress,
        patience=Patience(),
        resting=lambda: HISTORY.topic if resting else None,
    )
    assert await watch.look()
    now[0] += 700
    progress.turned()
    progress.idle()
    assert (progress.not_live() is None) == resting
