"""The judge of the demo believes a true story and catches every planted lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.demo.customers import CUSTOMERS, Story, the_one_that
from deploy.local.demo.verdict import Cell, Delivery, Mail, Observed, Sighting, SlackAlert, judge

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DAY, HOUR = NOW.date(), timedelta(hours=1)
DECLINES, SILENT = the_one_that(Story.DECLINES), the_one_that(Story.FALLS_SILENT)
TICKET, GROWS = the_one_that(Story.OPENS_URGENT_TICKET), the_one_that(Story.GROWS)
REASON = "Usage against the account's own past"
USED: Counter[Cell] = Counter({(customer.account_id, DAY, "Report Created"): 2000 for customer in CUSTOMERS})


def delivery(account: str, channel: str, playbook: str, tier: str, state: str = "sent") -> Delivery:
    return Delivery(
        account_id=account,
        channel=channel,
        playbook=playbook,
        tier=tier,
        state=state,
        requested_at=NOW,
        due_at=NOW,
        accepted_at=NOW + timedelta(seconds=0.75) if state == "sent" else None,
    )


ALERT = delivery(DECLINES.account_id, "slack", "usage-decline", "high_touch")
LETTER = delivery(SILENT.account_id, "email", "account-silent", "tech_touch")
TRUE = Observed(
    events_sent=24_000,
    usage_total=24_000,
    unassigned=0,
    expected=USED,
    counted=USED,
    told_by_history=0,
    deliveries=[ALERT, LETTER],
    slack=[SlackAlert("#customer-success", f"{DECLINES.name} green → yellow\n{REASON}: 60 %")],
    mails=[Mail("<1@x>", (SILENT.contact_email,), "We have not seen you")],
    sightings=[
        Sighting(NOW - timedelta(seconds=1), NOW - HOUR, TICKET.account_id, 98.0, "green"),
        Sighting(NOW + timedelta(seconds=1), NOW + HOUR, TICKET.account_id, 86.0, "green"),
    ],
    last_activity={SILENT.account_id: NOW - timedelta(days=10)},
    reasons=[REASON],
    ticket_at=NOW,
    log="postgres",
)


def test_a_mail_that_came_twice_under_one_message_id_is_one() -> None:
    assert judge(replace(TRUE, mails=[*TRUE.mails, *TRUE.mails])).summary["emails"] == 1


def test_a_true_story_is_believed_and_summed_up() -> None:
    verdict = judge(TRUE)
    assert verdict.problems == ()
    assert verdict.summary == {
        "events_sent": 24_000,
        "events_applied": 24_000,
        "lost": 0,
        "duplicated": 0,
        "slack": 1,
        "emails": 1,
        "seconds_to_alert": 0.75,
        "log": "postgres",
    }


LIES: dict[str, tuple[Callable[[Observed], Observed], str]] = {
    "too few events": (lambda seen: replace(seen, events_sent=19_999, usage_total=19_999), "only 19999 events"),
    "one lost": (lambda seen: replace(seen, counted=USED - Counter([next(iter(USED))])), "1 events were accepted"),
    "one doubled": (lambda seen: replace(seen, counted=USED + Counter([next(iter(USED))])), "1 events were counted"),
    "one lost and another doubled": (
        lambda seen: replace(
            seen, counted=USED - Counter([(DECLINES.account_id, DAY, "Report Created")]) + Counter([("x", DAY, "y")])
        ),
        "counted twice",
    ),
    "totals differ": (lambda seen: replace(seen, usage_total=24_001), "24001 applied"),
    "some belong to nobody": (lambda seen: replace(seen, unassigned=3), "3 events belong to no account"),
    "history raised something": (lambda seen: replace(seen, told_by_history=1), "history alone raised 1"),
    "no alert": (lambda seen: replace(seen, deliveries=[LETTER], slack=[]), "the ledger says: nothing"),
    "two alerts": (lambda seen: replace(seen, slack=list(seen.slack) * 2), "2 messages are in Slack"),
    "two in the ledger": (
        lambda seen: replace(seen, deliveries=[ALERT, ALERT, LETTER]),
        "usage-decline by slack sent,",
    ),
    "an alert without reasons": (
        lambda seen: replace(seen, slack=[SlackAlert("#customer-success", DECLINES.name)]),
        "gives no reason",
    ),
    "an alert about another": (
        lambda seen: replace(seen, slack=[SlackAlert("#customer-success", f"{GROWS.name} {REASON}")]),
        f"not about {DECLINES.name}",
    ),
    "an alert before its time": (
        lambda seen: replace(seen, deliveries=[replace(ALERT, due_at=NOW + timedelta(seconds=9)), LETTER]),
        "before it was due",
    ),
    "an alert that never arrived": (
        lambda seen: replace(seen, deliveries=[replace(ALERT, state="unknown"), LETTER]),
        "usage-decline by slack unknown",
    ),
    "no email": (lambda seen: replace(seen, deliveries=[ALERT], mails=[]), "0 emails"),
    "two emails": (
        lambda seen: replace(seen, mails=[*seen.mails, replace(seen.mails[0], id="<2@x>")]),
        "2 emails",
    ),
    "an email to another": (
        lambda seen: replace(seen, mails=[Mail("<1@x>", ("x@y.example",), "")]),
        "went to x@y.example",
    ),
    "an email about the decline as well": (
        lambda seen: replace(
            seen, deliveries=[*seen.deliveries, delivery(SILENT.account_id, "email", "usage-decline", "tech_touch")]
        ),
        "usage-decline by email sent",
    ),
    "silence called too early": (
        lambda seen: replace(seen, last_activity={SILENT.account_id: NOW - timedelta(days=2)}),
        "was called silent",
    ),
    "the ticket told somebody": (
        lambda seen: replace(
            seen,
            deliveries=[*seen.deliveries, delivery(TICKET.account_id, "slack", "usage-decline", "low_touch", "failed")],
        ),
        f"{TICKET.name} opens an urgent ticket, and yet",
    ),
    "the ticket changed nothing": (
        lambda seen: replace(seen, sightings=[seen.sightings[0], replace(seen.sightings[1], score=97.0)]),
        "did not lower",
    ),
    "the ticket changed it too late": (
        lambda seen: replace(
            seen,
            sightings=[
                *[replace(one, score=98.0) for one in seen.sightings],
                replace(seen.sightings[1], seen_at=NOW + timedelta(seconds=12)),
            ],
        ),
        "did not lower",
    ),
    "the ticket was never seen": (lambda seen: replace(seen, sightings=seen.sightings[:1]), "did not lower"),
    "the ticket cost it its band": (
        lambda seen: replace(seen, sightings=[*seen.sightings, replace(seen.sightings[1], band="yellow")]),
        "left green",
    ),
    "growth was told": (
        lambda seen: replace(
            seen, deliveries=[*seen.deliveries, delivery(GROWS.account_id, "slack", "expansion", "low_touch")]
        ),
        f"{GROWS.name} grows, and yet",
    ),
    "a stranger was told": (
        lambda seen: replace(seen, deliveries=[*seen.deliveries, delivery("acme", "slack", "x", "low_touch")]),
        "unknown accounts: acme",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_planted_lie_is_caught(lie: str) -> None:
    plant, sentence = LIES[lie]
    assert sentence in " / ".join(judge(plant(TRUE)).problems)
