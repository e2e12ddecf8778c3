from __future__ import annotations

import pytest

from services.health.domain import AccountFacts, Activity, weekly_usage
from tests.unit.health.cases import NOW, account, back, used

OURS = Activity(
    exclude_events=("$identify",), exclude_people=("monitor-*", "root"), exclude_email_domains=("Kizashi.example",)
)


def test_events() -> None:
    assert OURS.event_counts("Report Exported")
    assert not OURS.event_counts("$identify")


@pytest.mark.parametrize(
    ("person", "email", "counts"),
    [
        ("alice", None, True),
        ("alice", "alice@aoi.example", True),
        ("monitor-7", None, False),
        ("root", "alice@aoi.example", False),
        ("rooted", None, True),
        ("bob", "bob@kizashi.example", False),
        ("bob", "bob@EU.KIZASHI.EXAMPLE ", False),
        ("bob", "bob@notkizashi.example", True),
        ("bob", "kizashi.example@aoi.example", True),
        ("bob", "", True),
    ],
)
def test_people(person: str, email: str | None, counts: bool) -> None:
    assert OURS.person_counts(person, email) is counts


def test_usage_per_week_oldest_first() -> None:
    counts = (used(0, 99), used(1, 1), used(7, 2), used(8, 4), used(56, 8), used(57, 99), used(3, 99, "$identify"))
    assert weekly_usage(account(counts=counts), OURS, NOW) == (8, 0, 0, 0, 0, 0, 4, 3)
    assert weekly_usage(account(counts=counts, first_seen_at=back(8)), OURS, NOW) == (4, 3)
    assert weekly_usage(account(first_seen_at=back(0)), OURS, NOW) == ()
    assert weekly_usage(AccountFacts(account_id="aoi"), OURS, NOW) == ()
