"""Waves wait for each other only where many have a little to send."""

from __future__ import annotations

import pytest

from libs.common.event_log_kafka.tempo import LONGEST_SECONDS, MANY_CALLS, MUCH, Tempo


class Time:
    now = 100.0


def test_the_first_wave_goes_at_once() -> None:
    assert Tempo(lambda: Time.now).rest_seconds() == 0


@pytest.mark.parametrize(
    ("calls", "records", "share"),
    [
        (1, 1, 0.0),
        (1, 1000, 0.0),
        ((MANY_CALLS + 1) / 2, 0, 0.5),
        (MANY_CALLS, 0, 1.0),
        (1000, 0, 1.0),
        (MANY_CALLS, MUCH / 2, 0.5),
        (MANY_CALLS, MUCH, 0.0),
        (MANY_CALLS, 10 * MUCH, 0.0),
    ],
)
def test_the_more_small_calls_share_a_wave_the_longer_the_next_one_gathers(
    calls: int, records: int, share: float
) -> None:
    time = Time()
    tempo = Tempo(lambda: time.now)
    tempo.departed(calls, records)
    assert tempo.rest_seconds() == pytest.approx(share * LONGEST_SECONDS)
    time.now += LONGEST_SECONDS / 4
    assert tempo.rest_seconds() == pytest.approx(max(0.0, share - 0.25) * LONGEST_SECONDS)
    time.now += LONGEST_SECONDS
    assert tempo.rest_seconds() == 0
