"""Duplicates, order and batch borders leave what is stored as it was."""

from __future__ import annotations

import random
from functools import reduce

import pytest

from libs.common.events import AccountChanged, Band, Event
from services.playbook.domain.accounts import Account
from tests.integration.playbook.conftest import House
from tests.unit.playbook.examples import ACCOUNT, band_changed, delivered, snapshot, went_silent


async def test_every_event_told_twice_changes_nothing(house: House) -> None:
    """Beyond the claims of the loop: a log that is read again after its ids were forgotten starts nothing."""
    history: list[Event] = [
        snapshot(1),
        band_changed(version=1),
        snapshot(2, band=Band.RED),
        band_changed(Band.RED, Band.YELLOW, version=2),
    ]
    await house.tell(*history)
    await house.do_steps()
    [touch] = await house.touches()
    await house.tell(delivered(touch))
    await house.tell(snapshot(3, band=Band.GREEN))
    before = await house.everything()
    for event in [*history, delivered(touch), snapshot(3, band=Band.GREEN)]:
        await house.tell(event)
        await house.do_steps()
    after = await house.everything()
    new = [entry for entry in after["timeline_entry"] if entry not in before["timeline_entry"]]
    assert {table: rows for table, rows in after.items() if table != "timeline_entry"} == {
        table: rows for table, rows in before.items() if table != "timeline_entry"
    }
    assert {entry[4] for entry in new} <= {"run_not_started"}, "why nothing started is written, and nothing else"


@pytest.mark.parametrize("seed", range(5))
async def test_the_projection_is_that_of_the_rules_in_any_order_and_batches(house: House, seed: int) -> None:
    shuffle = random.Random(seed)
    told: list[AccountChanged] = [
        snapshot(version, band=shuffle.choice([None, *Band]), silent=shuffle.choice([None, True, False]))
        for version in range(1, 9)
    ]
    expected = reduce(Account.merged, map(Account.seen, told))
    told += shuffle.choices(told, k=4)
    shuffle.shuffle(told)
    while told:
        size = shuffle.randint(1, 4)
        await house.tell(*told[:size])
        del told[:size]
    [row] = await house.owner.fetch("SELECT * FROM playbook.account")
    assert (row["account_id"], row["version"]) == (ACCOUNT, expected.snapshot.version)
    assert (row["last_green_version"], row["last_active_version"]) == (
        expected.last_green_version,
        expected.last_active_version,
    )


async def test_a_batch_of_many_accounts_is_decided_account_by_account(house: House) -> None:
    events: list[Event] = []
    for n in range(40):
        name = f"account {n}"
        events += [
            snapshot(1, account_id=name),
            band_changed(version=1, account_id=name, id=f"band {n}"),
            went_silent(version=1, account_id=name, id=f"silent {n}") if n % 2 else snapshot(2, account_id=name),
        ]
    await house.tell(*events)
    await house.do_steps()
    runs = await house.runs()
    assert (
        sorted(playbook for playbook, state, _ in runs if state == "open")
        == ["account-silent"] * 20 + ["usage-decline"] * 20
    )
    assert len({touch.account_id for touch in await house.touches()}) == len(await house.touches()) == 40
