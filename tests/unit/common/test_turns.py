"""Topics that have records take turns by records."""

from __future__ import annotations

from collections import Counter

from libs.common.topics import Topic
from libs.common.turns import Turns

LIVE, IMPORT = Topic.TELEMETRY, Topic.TELEMETRY_IMPORT


def _serve(turns: Turns, batches: dict[Topic, int], times: int) -> list[Topic]:
    """Which topic was served, batch by batch; ``batches`` has how many records those of each topic have."""
    chosen = []
    for _ in range(times):
        topic = min(batches, key=turns.of)
        turns.served(topic, batches[topic])
        chosen.append(topic)
    return chosen


def test_a_topic_with_few_records_waits_for_one_batch_of_a_full_one() -> None:
    turns = Turns((LIVE, IMPORT))
    assert _serve(turns, {IMPORT: 500}, times=3) == [IMPORT] * 3
    assert _serve(turns, {LIVE: 8, IMPORT: 500}, times=12) == [LIVE] * 12


def test_full_topics_get_as_many_records_each() -> None:
    served = Counter(_serve(Turns((LIVE, IMPORT)), {LIVE: 500, IMPORT: 500}, times=20))
    assert served == {LIVE: 10, IMPORT: 10}


def test_under_constant_small_batches_the_full_topic_still_has_its_share() -> None:
    served = Counter(_serve(Turns((LIVE, IMPORT)), {LIVE: 10, IMPORT: 500}, times=510))
    assert served == {LIVE: 500, IMPORT: 10}


def test_who_had_nothing_for_a_while_has_saved_nothing_up() -> None:
    turns = Turns((LIVE, IMPORT))
    _serve(turns, {LIVE: 500}, times=1000)
    assert Counter(_serve(turns, {LIVE: 500, IMPORT: 500}, times=20)) == {LIVE: 10, IMPORT: 10}
