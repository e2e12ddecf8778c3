"""The demo's world: what every person of every customer does at which moment. Pure and seeded: the same days always
hold the same events, with the same ids, so whatever is sent twice is recognised."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from deploy.local.demo.customers import CUSTOMERS, Customer, Story

HISTORY = timedelta(days=90)
STORY = timedelta(days=30)

DECLINE_DAYS = 14
DECLINE_LEAVES = 0.12
"""The share of its usage that the declining account keeps, reached after so many days."""
LAST_WORD_DAY = 8
"""The day of the story on which the account that falls silent is active for the last time, or the one before."""
TICKET_DAY, TICKET_CLOSED_DAY = 12, 16
TICKET_TIME = time(10, 40, tzinfo=UTC)
JOINS_EVERY_DAYS = 4
JOINERS = 6
MORE_SEATS_DAY, MORE_SEATS = 14, 18

_WEEKDAYS = (1.0, 1.05, 1.05, 1.0, 0.9, 0.06, 0.04)
"""How much is done from Monday to Sunday."""
_FEATURES = {
    "Report Created": 5,
    "Report Exported": 3,
    "Workflow Run": 6,
    "Record Updated": 8,
    "Comment Added": 4,
    "Dashboard Shared": 2,
}
_PAGES = ("Home", "Reports", "Workflows", "Records", "Settings")
_FIRST_NAMES = (
    "Aiko", "Ben", "Chiara", "Diego", "Elif", "Farid", "Grace", "Hugo", "Imani", "Jonas", "Keiko", "Leila", "Marco",
    "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tove", "Umi", "Vera", "Wanda", "Xavier", "Yara", "Zeno",
    "Bruno", "Dalia", "Emre", "Freya", "Gita", "Hana",
)  # fmt: skip
_FAMILY_NAMES = ("Mori", "Keller", "Santos", "Novak", "Haddad", "Brandt", "Ito", "Larsen", "Mensah", "Rossi", "Duval")


class Call(StrEnum):
    IDENTIFY = "identify"
    GROUP = "group"
    TRACK = "track"
    PAGE = "page"


@dataclass(frozen=True)
class ProductEvent:
    """One call of the product's SDK. ``account_id`` travels only in ``group`` calls, as with every such SDK; here it
    says who the event is really about. ``fields`` are properties, or traits of ``identify`` and ``group``."""

    id: str
    at: datetime
    call: Call
    account_id: str
    user_id: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def counted_as(self) -> str:
        """The name under which usage is counted."""
        return {Call.TRACK: self.name, Call.PAGE: "Page Viewed"}.get(self.call, f"${self.call}")


@dataclass(frozen=True)
class Person:
    account_id: str
    number: int
    joined: date

    @property
    def user_id(self) -> str:
        return f"{self.account_id}-{self.number:02d}"

    @property
    def name(self) -> str:
        family = _FAMILY_NAMES[(len(self.account_id) * 3 + self.number * 5) % len(_FAMILY_NAMES)]
        return f"{_FIRST_NAMES[(len(self.account_id) + self.number) % len(_FIRST_NAMES)]} {family}"


@dataclass(frozen=True)
class World:
    """``begins`` is when history ends and the thirty days of the story begin; ``seed`` changes the small things."""

    begins: datetime
    seed: int = 1

    @property
    def history_begins(self) -> datetime:
        return self.begins - HISTORY

    @property
    def ticket_opened_at(self) -> datetime:
        return datetime.combine(self._day(TICKET_DAY), TICKET_TIME)

    def between(self, start: datetime, end: datetime) -> list[ProductEvent]:
        """What happens from ``start`` up to but not including ``end``, in order."""
        days = [start.date() + timedelta(days=n) for n in range((end.date() - start.date()).days + 1)]
        happening = (event for day in days for customer in CUSTOMERS for event in self._on(customer, day))
        return sorted((event for event in happening if start <= event.at < end), key=lambda event: (event.at, event.id))

    def usage(self, start: datetime, end: datetime) -> Counter[tuple[str, date, str]]:
        """How often each event of each account must be counted: by (account, UTC day, event)."""
        return Counter((event.account_id, event.at.date(), event.counted_as) for event in self.between(start, end))

    # --- one account, one day ---

    def _day(self, of_story: int) -> date:
        return self.begins.date() + timedelta(days=of_story)

    def _on(self, customer: Customer, day: date) -> Iterator[ProductEvent]:
        chance = random.Random(f"{self.seed}/{customer.account_id}/{day}")  # noqa: S311 - a repeatable world is the point
        number = 0
        for person, calls in self._at_work(customer, day, chance):
            moment = datetime.combine(day, time(7, tzinfo=UTC)) + timedelta(seconds=chance.uniform(0, 9 * 3600))
            for call, name, fields in self._session(customer, person, day, calls, chance):
                yield ProductEvent(
                    id=f"{customer.account_id}/{day}/{number}",
                    at=moment.replace(microsecond=moment.microsecond // 1000 * 1000),
                    call=call,
                    account_id=customer.account_id,
                    user_id=person.user_id,
                    name=name,
                    fields=fields,
                )
                number += 1
                moment += timedelta(seconds=chance.uniform(4, 600))
        if customer.story is Story.OPENS_URGENT_TICKET:
            yield from self._ticket(customer, day)

    def _at_work(self, customer: Customer, day: date, chance: random.Random) -> Iterator[tuple[Person, int]]:
        """Who works with the product on this day, and how many things each of them does."""
        people = self._people(customer, day)
        level = self._level(customer, day)
        if level < 1:  # in a decline the later ones of the team stop first, and those who stay do less
            people = people[: max(1, round(len(people) * level**0.5))]
            level = level**0.5
        rhythm = _WEEKDAYS[day.weekday()]
        for person in people if level else []:
            if chance.random() < min(0.92, rhythm) or day == person.joined:
                yield person, max(1, round(chance.uniform(1.0, 2.6) * level))

    def _level(self, customer: Customer, day: date) -> float:
        """How much of its usual usage the account still shows, 1 being all of it."""
        age = (day - self.begins.date()).days
        if customer.story is Story.DECLINES and age > 0:
            return max(DECLINE_LEAVES, 1 - (1 - DECLINE_LEAVES) * age / DECLINE_DAYS)
        if customer.story is Story.FALLS_SILENT and age > LAST_WORD_DAY:
            return 0
        return 1

    def _people(self, customer: Customer, day: date) -> list[Person]:
        people = [Person(customer.account_id, n, self.history_begins.date()) for n in range(1, customer.people + 1)]
        if customer.story is Story.GROWS:
            for n in range(1, JOINERS + 1):
                joined = self._day(n * JOINS_EVERY_DAYS)
                joined += timedelta(
                    days=7 - joined.weekday() if joined.weekday() > 4 else 0
                )  # nobody starts on a weekend
                people.append(Person(customer.account_id, customer.people + n, joined))
        return [person for person in people if person.joined <= day]

    def _session(
        self, customer: Customer, person: Person, day: date, calls: int, chance: random.Random
    ) -> Iterator[tuple[Call, str, dict[str, Any]]]:
        if day == person.joined or day.weekday() == person.number % 5:  # signs in once a week
            email = f"{person.name.lower().replace(' ', '.')}@{customer.domain}"
            yield Call.IDENTIFY, "", {"name": person.name, "email": email}
            yield Call.GROUP, "", self._traits(customer, day)
        yield Call.PAGE, chance.choice(_PAGES), {}
        for name in chance.choices(list(_FEATURES), list(_FEATURES.values()), k=calls):
            yield Call.TRACK, name, {}

    def _traits(self, customer: Customer, day: date) -> dict[str, Any]:
        more_seats = customer.story is Story.GROWS and day >= self._day(MORE_SEATS_DAY)
        return {
            "name": customer.name,
            "industry": customer.industry,
            "plan": customer.plan,
            "arr": customer.arr * MORE_SEATS // customer.seats if more_seats else customer.arr,
            "seats": MORE_SEATS if more_seats else customer.seats,
            "renewal_date": self._day(customer.renews_in_days).isoformat(),
            "owner": customer.owner,
            "contact_name": customer.contact_name,
            "contact_email": customer.contact_email,
        }

    def _ticket(self, customer: Customer, day: date) -> Iterator[ProductEvent]:
        """Sent by the help desk in the name of the person who opened it."""
        reporter = Person(customer.account_id, 1, day).user_id
        for on, name in ((TICKET_DAY, "Ticket Opened"), (TICKET_CLOSED_DAY, "Ticket Closed")):
            if day == self._day(on):
                yield ProductEvent(
                    id=f"{customer.account_id}/{day}/{name}",
                    at=datetime.combine(day, TICKET_TIME),
                    call=Call.TRACK,
                    account_id=customer.account_id,
                    user_id=reporter,
                    name=name,
                    fields={"ticket_id": "T-1042", "priority": "urgent", "subject": "Exports fail for everybody"},
                )
