"""How much a run of the bench does: as little as still says something, or enough to believe its figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Of one run, unless a scenario says otherwise; ``runs`` of them are made."""

    runs: int

    ingest_warm_seconds: int
    """Of load before each measurement: write key known, partitions remembered."""
    ingest_seconds: int
    """Of load for each measurement."""
    endurance_seconds: int
    """Of load without a rest."""
    pressure_seconds: int
    """Of a quiet key's calls, alone and beside a flood, in each of some rounds."""

    health_events: int
    """In the log that health drains."""
    health_claimed_events: int
    """Claimed before: the window that each new claim is looked up in."""
    account_counts: tuple[int, ...]
    """Of accounts among which the same number of events is spread."""
    scored_accounts: int

    end_to_end_seconds: float
    end_to_end_events_per_s: int
    end_to_end_accounts: int
    wave_seconds: float
    """Of light load alone, and during each wave."""
    wave_accounts: int
    """Due all at once, as at midnight."""
    backfill_events: int


QUICK = Size(
    runs=1,
    ingest_warm_seconds=1,
    ingest_seconds=1,
    endurance_seconds=30,
    pressure_seconds=4,
    health_events=20_000,
    health_claimed_events=100_000,
    account_counts=(1_000, 10_000),
    scored_accounts=250,
    end_to_end_seconds=5,
    end_to_end_events_per_s=500,
    end_to_end_accounts=300,
    wave_seconds=4,
    wave_accounts=400,
    backfill_events=1_500,
)
FULL = Size(
    runs=3,
    ingest_warm_seconds=2,
    ingest_seconds=5,
    endurance_seconds=300,
    pressure_seconds=10,
    health_events=200_000,
    health_claimed_events=2_000_000,
    account_counts=(1_000, 10_000, 50_000),
    scored_accounts=3_000,
    end_to_end_seconds=30,
    end_to_end_events_per_s=500,
    end_to_end_accounts=1_000,
    wave_seconds=30,
    wave_accounts=50_000,
    backfill_events=100_000,
)
