"""Who has a ticket during the end-to-end measurement."""

from __future__ import annotations

from bench.end_to_end import who_has_tickets
from bench.traffic import TIERS, account_ids


def test_alerts_go_round_the_channels_and_nobody_has_two_tickets() -> None:
    accounts = account_ids(300)
    urgent, quiet = who_has_tickets(accounts, 30)
    tiers = [accounts.index(account) % len(TIERS) for account in urgent]
    assert len(urgent) == 45
    assert tiers == [0, 1, 2] * 15
    assert len(quiet) == 90
    assert len({*urgent, *quiet}) == 135
