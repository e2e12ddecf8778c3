"""A batch opened: events for us, replays for others passed over, letters for what nobody can read, and the breaker."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.burial import LETTER, ONLY_GROUP
from libs.common.event_log import Batch, ReadRecord, TopicPartition
from libs.common.events import encode
from libs.common.received import BREAKER_LIMIT, BreakerOpen, halves, open_batch
from libs.common.topics import Topic
from tests.integration.common.tally import telemetry

SOURCE = TopicPartition(Topic.TELEMETRY, 3)


def batch(*values: bytes, headers: dict[str, bytes] | None = None) -> Batch:
    records = [ReadRecord(b"1:key", value, headers or {}, 10 + 2 * n) for n, value in enumerate(values)]
    return Batch(SOURCE, 10, 10 + 2 * len(values), records)


GOOD = encode(telemetry(1))
BAD = b"not json"


def test_events_and_letters_are_told_apart_in_their_order() -> None:
    opened = open_batch(batch(GOOD, BAD, encode(telemetry(2))), "tally", 0)
    assert [one.event.id for one in opened.received] == ["message-1", "message-2"]
    [letter] = opened.letters
    assert (letter.record.offset, letter.record.value, letter.reason) == (12, BAD, "not_json")
    assert (letter.workspace, letter.claim, opened.refused_in_a_row) == (1, None, 0)


def test_a_replay_is_for_the_group_that_refused_it() -> None:
    letter = uuid.uuid4()
    replay = batch(GOOD, headers={ONLY_GROUP: b"tally", LETTER: str(letter).encode()})
    assert [one.replay_of for one in open_batch(replay, "tally", 0).received] == [letter]
    assert open_batch(replay, "echo", 7).received == []
    assert open_batch(replay, "echo", 7).refused_in_a_row == 7


def test_a_header_that_names_no_letter_makes_no_replay() -> None:
    for strange in (b"", b"\xff", b"not a uuid"):
        [one] = open_batch(batch(GOOD, headers={LETTER: strange}), "tally", 0).received
        assert one.replay_of is None


@pytest.mark.parametrize(
    ("key", "workspace"),
    [(b"12:abc", 12), (b"12", None), (b"", None), (b":x", None), (b"-1:x", None), (b"9" * 30 + b":x", None)],
)
def test_a_letter_belongs_to_the_workspace_of_its_key(key: bytes, workspace: int | None) -> None:
    opened = open_batch(Batch(SOURCE, 0, 1, [ReadRecord(key, BAD, {}, 0)]), "tally", 0)
    assert opened.letters[0].workspace == workspace


def test_the_breaker_counts_over_batches_and_a_good_record_resets_it() -> None:
    assert open_batch(batch(*[BAD] * BREAKER_LIMIT), "tally", 0).refused_in_a_row == BREAKER_LIMIT
    with pytest.raises(BreakerOpen, match="25 records in a row"):
        open_batch(batch(*[BAD] * BREAKER_LIMIT, BAD), "tally", 0)
    with pytest.raises(BreakerOpen):
        open_batch(batch(BAD), "tally", BREAKER_LIMIT)
    assert open_batch(batch(GOOD, BAD), "tally", BREAKER_LIMIT).refused_in_a_row == 1
    assert open_batch(batch(*[BAD] * 100), "tally", -100).refused_in_a_row == 0  # an operator's allowance


@given(st.lists(st.integers(1, 5), min_size=2, max_size=50), st.integers(0, 5))
def test_halves_leave_nothing_out_whatever_holes_there_are(steps: list[int], tail: int) -> None:
    offsets = [sum(steps[: n + 1]) for n in range(len(steps))]
    whole = Batch(SOURCE, 0, offsets[-1] + 1 + tail, [ReadRecord(b"", b"", {}, offset) for offset in offsets])
    left, right = halves(whole)
    assert (left.start, right.end) == (whole.start, whole.end)
    assert left.end == right.start
    assert [*left.records, *right.records] == whole.records
    assert left.records
    assert right.records
    assert all(half.start <= one.offset < half.end for half in (left, right) for one in half.records)
