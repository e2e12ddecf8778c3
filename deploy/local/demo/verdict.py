"""Judges a demo: did the story come true, was everything counted once, was exactly the right person told? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from deploy.local.demo.customers import CUSTOMERS, Customer, Story, the_one_that

LEAST_EVENTS = 20_000
TICKET_SECONDS = 10.0
"""Real seconds within which an urgent ticket must show in the score, of which the demo's own looking takes some."""
TICKET_POINTS = 3.0
SILENCE_AT_LEAST = timedelta(days=7)

Cell = tuple[str, date, str]
"""Account, UTC day, name of the event: what usage is counted by."""


@dataclass(frozen=True)
class Delivery:
    """A row of notify's ledger, whatever became of it. ``due_at`` and ``accepted_at`` are real time."""

    account_id: str
    channel: str
    playbook: str
    tier: str
    state: str
    requested_at: datetime
    due_at: datetime
    accepted_at: datetime | None


@dataclass(frozen=True)
class SlackAlert:
    """A message as it stands in the inbox; ``text`` is all of its text."""

    channel_name: str
    text: str


@dataclass(frozen=True)
class Mail:
    """``id`` is its Message-ID: what came twice under one is one mail, in a mail reader and here."""

    id: str
    recipients: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Sighting:
    """The score of an account as it was seen at real time ``seen_at``, when domain time was ``at``."""

    seen_at: datetime
    at: datetime
    account_id: str
    score: float | None
    band: str | None


@dataclass(frozen=True)
class Observed:
    """Everything that the demo's judge has seen, all of it read from the services' APIs and from the inbox.

    ``expected`` is what the world says was sent and accepted, ``counted`` what health has counted; ``unassigned`` of
    it belongs to no account. ``told_by_history`` is how many runs, deliveries and messages there were when time began.
    ``last_activity`` is the last event of each account. ``reasons`` are the titles of the measures that cost the
    declining account points. ``ticket_at`` is the domain time of the urgent ticket.
    """

    events_sent: int
    usage_total: int
    unassigned: int
    expected: Mapping[Cell, int]
    counted: Mapping[Cell, int]
    told_by_history: int
    deliveries: Sequence[Delivery]
    slack: Sequence[SlackAlert]
    mails: Sequence[Mail]
    sightings: Sequence[Sighting]
    last_activity: Mapping[str, datetime]
    reasons: Sequence[str]
    ticket_at: datetime
    log: str


@dataclass(frozen=True)
class Verdict:
    """``problems`` are sentences, none if the story came true; ``summary`` is the last line of ``make demo``."""

    problems: tuple[str, ...]
    summary: Mapping[str, object] = field(default_factory=dict)


def judge(seen: Observed) -> Verdict:
    expected, counted = Counter(seen.expected), Counter(seen.counted)
    lost, duplicated = (expected - counted).total(), (counted - expected).total()
    alerts = [one for one in seen.deliveries if one.channel == "slack" and one.accepted_at is not None]
    seconds = (
        round((alerts[0].accepted_at - alerts[0].due_at).total_seconds(), 2)
        if alerts and alerts[0].accepted_at is not None
        else None
    )
    summary = {
        "events_sent": seen.events_sent,
        "events_applied": seen.usage_total,
        "lost": lost,
        "duplicated": duplicated,
        "slack": len(seen.slack),
        "emails": _emails(seen),
        "seconds_to_alert": seconds,
        "log": seen.log,
    }
    problems = (
        *_counts(seen, lost, duplicated),
        *_decline(seen, seconds),
        *_silence(seen),
        *_ticket(seen),
        *_everybody_else(seen),
    )
    return Verdict(problems, summary)


def _counts(seen: Observed, lost: int, duplicated: int) -> Iterator[str]:
    if seen.events_sent < LEAST_EVENTS:
        yield f"only {seen.events_sent} events were sent, fewer than {LEAST_EVENTS}"
    if lost:
        yield f"{lost} events were accepted and not counted for their account"
    if duplicated:
        yield f"{duplicated} events were counted that were not sent, or counted twice"
    if seen.usage_total != seen.events_sent or sum(seen.expected.values()) != seen.events_sent:
        yield f"{seen.events_sent} events were sent, {sum(seen.expected.values())} expected, {seen.usage_total} applied"
    if seen.unassigned:
        yield f"{seen.unassigned} events belong to no account"


def _decline(seen: Observed, seconds: float | None) -> Iterator[str]:
    customer = the_one_that(Story.DECLINES)
    told = _told(seen, customer)
    if [(one.channel, one.playbook, one.tier, one.state) for one in told] != [
        ("slack", "usage-decline", "high_touch", "sent")
    ]:
        yield f"{customer.name} declined, and the ledger says: {_in_words(told)}"
    if len(seen.slack) != 1:
        yield f"{len(seen.slack)} messages are in Slack, not one"
    for alert in seen.slack:
        if customer.name not in alert.text:
            yield f"the Slack alert is not about {customer.name}: {alert.text[:80]!r}"
        if not any(reason in alert.text for reason in seen.reasons):
            yield "the Slack alert gives no reason"
    if seconds is not None and seconds < 0:
        yield f"the Slack alert came {-seconds} s before it was due"


def _silence(seen: Observed) -> Iterator[str]:
    customer = the_one_that(Story.FALLS_SILENT)
    told = _told(seen, customer)
    if [(one.channel, one.playbook, one.tier, one.state) for one in told] != [
        ("email", "account-silent", "tech_touch", "sent")
    ]:
        yield f"{customer.name} fell silent, and the ledger says: {_in_words(told)}"
    if _emails(seen) != 1:
        yield f"{_emails(seen)} emails were sent, not one"
    for mail in seen.mails:
        if mail.recipients != (customer.contact_email,):
            yield f"the email went to {', '.join(mail.recipients)}, not to {customer.contact_email}"
    last = seen.last_activity[customer.account_id]
    for one in told:
        if one.requested_at - last < SILENCE_AT_LEAST:
            yield f"{customer.name} was called silent on {one.requested_at:%d %b}, though last active {last:%d %b}"


def _emails(seen: Observed) -> int:
    return len({mail.id for mail in seen.mails})


def _ticket(seen: Observed) -> Iterator[str]:
    customer = the_one_that(Story.OPENS_URGENT_TICKET)
    sightings = [one for one in seen.sightings if one.account_id == customer.account_id and one.score is not None]
    before = [one.score for one in sightings if one.at <= seen.ticket_at and one.score is not None]
    after = [one for one in sightings if one.at > seen.ticket_at]
    until = after[0].seen_at + timedelta(seconds=TICKET_SECONDS) if after else seen.ticket_at
    soon = [one.score for one in after if one.seen_at <= until and one.score is not None]
    if not before or not soon or before[-1] - min(soon) < TICKET_POINTS:
        yield (
            f"the urgent ticket did not lower the score of {customer.name} within {TICKET_SECONDS:.0f} s: "
            f"{before[-1:]} → {sorted(set(soon))}"
        )
    if any(one.band != "green" for one in sightings):
        yield f"{customer.name} left green over one ticket"


def _everybody_else(seen: Observed) -> Iterator[str]:
    if seen.told_by_history:
        yield f"the history alone raised {seen.told_by_history} runs, deliveries or messages"
    expected = {the_one_that(Story.DECLINES).account_id, the_one_that(Story.FALLS_SILENT).account_id}
    for customer in CUSTOMERS:
        if customer.account_id in expected:
            continue
        if told := _told(seen, customer):
            yield f"{customer.name} {customer.story}, and yet the ledger says: {_in_words(told)}"
    strangers = {one.account_id for one in seen.deliveries} - {customer.account_id for customer in CUSTOMERS}
    if strangers:
        yield f"somebody was told about unknown accounts: {', '.join(sorted(strangers))}"


def _told(seen: Observed, customer: Customer) -> list[Delivery]:
    return [one for one in seen.deliveries if one.account_id == customer.account_id]


def _in_words(deliveries: Sequence[Delivery]) -> str:
    return ", ".join(f"{one.playbook} by {one.channel} {one.state}" for one in deliveries) or "nothing"
