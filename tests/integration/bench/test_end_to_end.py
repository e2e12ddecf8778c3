"""The scenarios of a whole installation measure what they say, under a load too small to believe their figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import end_to_end, waves
from bench.figures import unit_of
from bench.sizes import QUICK

TINY = replace(
    QUICK,
    end_to_end_seconds=4,
    end_to_end_events_per_s=50,
    end_to_end_accounts=30,
    wave_seconds=3,
    wave_accounts=1_500,
    backfill_events=3_000,
)


async def test_every_ticket_is_followed_to_its_score_and_to_slack() -> None:
    found = await end_to_end.run("postgres", TINY)
    for name in found:
        unit_of(name)
    assert found["accepted_to_slack_alerts_count"] == 6
    assert 0 < found["accepted_to_read_p50_ms"] < found["accepted_to_scored_p50_ms"] < found["accepted_to_slack_p50_ms"]
    parts = [f"end_to_end_{name}" for name in ("ingest", "health", "playbook", "notify", "postgres")]
    assert all(found[f"{part}_cpu_s_per_million"] > 0 for part in parts)
    assert found["rss_mb_total"] == pytest.approx(sum(found[f"{part}_rss_mb"] for part in parts))


async def test_tickets_are_scored_alone_and_during_both_waves() -> None:
    found = await waves.run("postgres", TINY)
    for name in found:
        unit_of(name)
    alone = found["live_accepted_to_scored_p99_ms"]
    for wave in ("backfill", "midnight"):
        during = found[f"live_accepted_to_scored_during_{wave}_p99_ms"]
        assert found[f"live_accepted_to_scored_during_{wave}_p99_over_alone"] == during / alone
    assert found["midnight_scored_accounts_per_s"] > 0
