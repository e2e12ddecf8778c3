"""Whose usage it is, whatever the order in which calls and events arrive."""

from __future__ import annotations

import random

import pytest

from libs.common.events import TelemetryReceived
from tests.conftest import TestDatabase
from tests.integration.health.world import DAY, HOUR, MONDAY, World, world


async def test_usage_before_the_group_call_belongs_to_the_account(here: World) -> None:
    await here.tell([here.track("Report Exported", "ann", MONDAY - 3 * DAY)])
    await here.settle()
    assert await here.rows("SELECT * FROM account") == []
    await here.tell([here.group("ann", "acme", MONDAY - HOUR, traits={"name": "Acme Ltd", "plan": "enterprise"})])
    await here.settle()
    assert await here.usage("acme") == {("2026-02-27", "Report Exported"): 1, ("2026-03-02", "$group"): 1}
    account = await here.account("acme")
    assert (account["name"], account["segment"]) == ("Acme Ltd", "enterprise")


async def test_a_user_who_changes_companies_takes_only_later_days_along(here: World) -> None:
    await here.tell([here.group("ann", "acme", MONDAY - 9 * DAY)])
    await here.tell([here.track("Used", "ann", MONDAY - days * DAY) for days in (8, 5, 2)])
    await here.settle()
    assert sum(n for (_, event), n in (await here.usage("acme")).items() if event == "Used") == 3
    await here.tell([here.group("ann", "bolt", MONDAY - 5 * DAY)])
    await here.settle()
    assert await here.usage("acme") == {("2026-02-21", "$group"): 1, ("2026-02-22", "Used"): 1}
    assert await here.usage("bolt") == {
        ("2026-02-25", "$group"): 1,
        ("2026-02-25", "Used"): 1,
        ("2026-02-28", "Used"): 1,
    }


async def test_one_request_concerns_both_accounts(here: World) -> None:
    await here.tell([here.group("ann", "acme", MONDAY - 9 * DAY), here.track("Used", "ann", MONDAY - DAY)])
    await here.settle()
    await here.tell([here.group("ann", "bolt", MONDAY - 2 * DAY)])
    await here.router.route_once()
    waiting = await here.rows("SELECT DISTINCT account_id FROM dirty WHERE user_key = 'u:ann' AND day IS NULL")
    assert {row["account_id"] for row in waiting} == {"acme", "bolt"}


async def test_a_call_that_repeats_what_is_known_moves_no_day(here: World) -> None:
    await here.tell([here.group("ann", "acme", MONDAY - 9 * DAY)])
    await here.settle()
    await here.tell([here.group("ann", "acme", MONDAY - DAY)])
    await here.router.route_once()
    assert await here.rows("SELECT user_key, day::text FROM dirty") == [{"user_key": "u:ann", "day": "2026-03-01"}]


async def test_the_account_that_an_event_names_wins(here: World) -> None:
    await here.tell(
        [
            here.group("ann", "acme", MONDAY - 9 * DAY),
            here.track("Used", "ann", MONDAY - DAY, account_id="bolt"),
            here.track("Used", "ann", MONDAY - DAY),
        ]
    )
    await here.settle()
    assert (await here.usage("acme"))["2026-03-01", "Used"] == 1
    assert (await here.usage("bolt"))["2026-03-01", "Used"] == 1


async def test_what_was_done_before_signing_in_belongs_to_the_person(here: World) -> None:
    await here.tell([here.track("Pricing Viewed", None, MONDAY - 3 * DAY, anonymous_id="visitor")])
    await here.tell([here.group("ann", "acme", MONDAY - DAY)])
    await here.settle()
    assert ("2026-02-27", "Pricing Viewed") not in await here.usage("acme")
    await here.tell([here.identify("ann", MONDAY - HOUR, anonymous_id="visitor")])
    await here.settle()
    assert (await here.usage("acme"))["2026-02-27", "Pricing Viewed"] == 1
    people = await here.rows("SELECT DISTINCT unnest(people) AS person FROM account_people WHERE account_id = 'acme'")
    assert people == [{"person": "u:ann"}]


async def test_an_alias_carries_the_calls_of_the_earlier_id(here: World) -> None:
    await here.tell([here.group("ann@old", "acme", MONDAY - 5 * DAY), here.track("Used", "ann", MONDAY - 2 * DAY)])
    await here.settle()
    assert ("2026-02-28", "Used") not in await here.usage("acme")
    await here.tell([here.alias("ann@old", "ann", MONDAY - DAY)])
    await here.settle()
    assert (await here.usage("acme"))["2026-02-28", "Used"] == 1


async def test_an_anonymous_id_is_not_the_user_of_the_same_name(here: World) -> None:
    await here.tell([here.group("42", "acme", MONDAY - DAY), here.track("Used", None, MONDAY - DAY, anonymous_id="42")])
    await here.settle()
    assert await here.usage("acme") == {("2026-03-01", "$group"): 1}


async def test_a_shared_device_is_nobody_in_particular(here: World) -> None:
    await here.tell([here.track("Used", None, MONDAY - 9 * DAY, anonymous_id="kiosk")])
    for n in range(25):
        at = MONDAY - 8 * DAY + n * HOUR
        await here.tell(
            [here.group(f"user{n}", f"account{n}", at), here.identify(f"user{n}", at, anonymous_id="kiosk")]
        )
        await here.settle()
    assert await here.rows("SELECT * FROM account_usage WHERE event = 'Used'") == []


async def test_people_of_ours_do_not_count_however_late_we_learn_who_they_are(database: TestDatabase) -> None:
    async with world(database) as here:
        activity = here.rules.model.activity.model_copy(update={"exclude_email_domains": ("ours.example",)})
        object.__setattr__(here.rules.model, "activity", activity)
        await here.tell(here.routine("acme", ["ann", "support"], MONDAY - 7 * DAY, days=5))
        await here.settle()
        assert {len(row["people"]) for row in await here.rows("SELECT people FROM account_people")} == {2}
        await here.tell([here.identify("support", MONDAY - HOUR, traits={"email": "sam@eu.ours.example"})])
        await here.settle()
        assert {tuple(row["people"]) for row in await here.rows("SELECT people FROM account_people")} == {("u:ann",)}
        assert sum((await here.usage("acme")).values()) == 2 * (1 + 4 * 5) + 1


def _story(here: World) -> list[TelemetryReceived]:
    """Joining, leaving, signing in late, aliases, named accounts, tickets and traits, in 30 days."""
    start = MONDAY - 30 * DAY
    events = [
        *here.routine("acme", ["ann", "bob"], start, days=28),
        *here.routine("bolt", ["cid"], start, days=20, per_day=2),
        here.group("ann", "bolt", start + 12 * DAY),
        here.group("ann", "acme", start + 20 * DAY, traits={"plan": "enterprise", "seats": 4}),
        here.group(None, "acme", start + 21 * DAY, traits={"plan": "starter", "owner": "kim"}),
        here.group(None, "acme", start + 21 * DAY, traits={"plan": None}),
        here.identify("bob", start + 15 * DAY, anonymous_id="visitor", traits={"email": "bob@acme.example"}),
        here.identify("cid", start + 18 * DAY, anonymous_id="visitor"),
        here.alias("dan@old", "dan", start + 10 * DAY),
        here.group("dan@old", "bolt", start + 2 * DAY),
        here.track("Used", None, start + 5 * DAY, account_id="bolt"),
        here.track(
            "Ticket Opened",
            "ann",
            start + 27 * DAY,
            properties={"priority": "urgent", "ticket_id": 7, "text": "not kept"},
        ),
        here.track("Ticket Opened", None, start + 29 * DAY, account_id="acme", properties={"priority": "urgent"}),
    ]
    events += [here.track("Used", None, start + n * DAY, anonymous_id="visitor") for n in range(28)]
    events += [here.track("Used", "dan", start + n * DAY) for n in range(0, 28, 3)]
    events += [here.track("Used", "ann", start + n * DAY, account_id="bolt") for n in (3, 4)]
    # Late ones: they happened early and arrived at the end.
    events += [here.track("Used", "bob", start + n * DAY, received_at=start + 29 * DAY) for n in range(3)]
    return events


FACTS = (
    "SELECT account_id, name, segment, stage, score, scorecard::jsonb - 'as_of' AS scorecard, last_activity_at, trend "
    "FROM account ORDER BY 1",
    "SELECT account_id, event_day, user_key, event, source, person, n, first_at, last_at FROM account_usage "
    "ORDER BY 1, 2, 3, 4",
    "SELECT account_id, event_day, event, n, people_n, first_at, people_first_at, people_last_at FROM account_day "
    "ORDER BY 1, 2, 3",
    "SELECT account_id, event_day, people, first_at, last_at FROM account_people ORDER BY 1, 2",
    "SELECT account_id, message_id, event, at, properties FROM account_occurrence ORDER BY 1, 2",
    "SELECT user_key, event_day, account_id, event, arrival_day, n, first_at, last_at FROM usage "
    "ORDER BY 1, 2, 3, 4, 5",
)


async def _outcome(here: World) -> list[list[dict[str, object]]]:
    return [await here.rows(statement) for statement in FACTS]


@pytest.fixture
async def expected(database: TestDatabase) -> list[list[dict[str, object]]]:
    """Everything in the order in which it happened, in one batch."""
    async with world(database) as here:
        await here.tell(sorted(_story(here), key=lambda event: event.occurred_at))
        await here.settle()
        outcome = await _outcome(here)
        await _forget(here)
        return outcome


async def _forget(here: World) -> None:
    tables = [
        row["tablename"] for row in await here.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'health'")
    ]
    await here.rows(f"TRUNCATE {', '.join(name for name in tables if name != 'schema_version')}")


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_and_any_batches_give_the_same_accounts(
    database: TestDatabase, expected: list[list[dict[str, object]]], seed: int
) -> None:
    """Work goes on between batches, so that roll-ups made too early must be found and mended."""
    rng = random.Random(seed)
    async with world(database) as here:
        events = _story(here)
        rng.shuffle(events)
        while events:
            size = rng.choice([1, 3, 20, 80])
            await here.tell(events[:size])
            events = events[size:]
            if rng.random() < 0.4:
                await here.router.route_once()
            if rng.random() < 0.3:
                await here.settle()
        await here.settle()
        assert await _outcome(here) == expected
