"""Who belongs to which account on which day: a function of all calls ever made, whatever their order of arrival.

The same rule serves two questions: which account a user belongs to (`group` calls), and which person an anonymous or
earlier id belongs to (`identify` and `alias` calls). Users are opaque keys here, known and anonymous ones alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

import msgspec


class Call(msgspec.Struct, frozen=True, order=True):
    """All calls of one day (UTC) by one id that named the same ``target``: an account, or the person behind the id.

    However often it was called, a day and a target are one row whose times are a minimum and a maximum, so rows may be
    merged, split and repeated in any order.
    """

    day: date
    target: str
    first_at: datetime
    last_at: datetime


class Attributable(Protocol):
    """A user-level fact. ``account`` is the one that the event itself named, if any."""

    @property
    def user(self) -> str: ...
    @property
    def day(self) -> date: ...
    @property
    def account(self) -> str | None: ...


Calls = Mapping[str, Sequence[Call]]
"""By the id that made them."""


def in_force(calls: Iterable[Call], day: date) -> str | None:
    """The target of the last call on or before ``day``, else of the earliest after it; None when there is no call.

    Of two calls at the same moment, the greater target is the later.
    """
    earlier: Call | None = None
    later: Call | None = None
    for call in calls:
        if call.day <= day:
            if earlier is None or (call.last_at, call.target) > (earlier.last_at, earlier.target):
                earlier = call
        elif later is None or (call.first_at, call.target) < (later.first_at, later.target):
            later = call
    chosen = earlier or later
    return chosen.target if chosen else None


def person_behind(user: str, links: Calls, day: date) -> str:
    """The person whom ``user`` stands for on ``day``: links are followed to their end.

    Ids that name each other in a circle are one person, known by the smallest of them.
    """
    path = [user]
    while (following := in_force(links.get(path[-1], ()), day)) is not None:
        if following in path:
            return min(path[path.index(following) :])
        path.append(following)
    return path[-1]


def calls_of_people(calls: Calls, links: Calls) -> dict[str, list[Call]]:
    """Whose calls they were: those of every id of a person together."""
    of_person: dict[str, list[Call]] = defaultdict(list)
    for caller, made in calls.items():
        for call in made:
            of_person[person_behind(caller, links, call.day)].append(call)
    return of_person


def adds_nothing(calls: Iterable[Call], day: date, target: str) -> bool:
    """Whether the call of ``day`` that named ``target`` leaves every answer as it would be without it: the target was
    in force before, and nothing else was called that day.

    It looks back only, so of several calls that arrive together at least the one that began the change says no.
    """
    earlier = []
    for call in calls:
        if call.day < day:
            earlier.append(call)
        elif call.day == day and call.target != target:
            return False
    return in_force(earlier, day) == target


PEOPLE_PER_ID = 20
"""An id that stood for more people than these is a shared device or a constant in somebody's code."""


def stands_for_nobody(links: Iterable[Call]) -> bool:
    """Whether an id with these links says nothing about who is behind it, so that its links must be left out."""
    return len({call.target for call in links}) > PEOPLE_PER_ID


def attribute(rows: Sequence[Attributable], calls: Calls, links: Calls) -> list[str | None]:
    """The account of each row, in the order of ``rows``; None while nobody has said where the user belongs.

    The account that the event itself named wins. Else the calls of every id of the same person count, those made
    while anonymous too, so ``calls`` and ``links`` must hold all ids that are linked with the rows' users.
    """
    of_person = calls_of_people(calls, links)
    known: dict[tuple[str, date], str | None] = {}

    def account_of(row: Attributable) -> str | None:
        if row.account is not None:
            return row.account
        if (row.user, row.day) not in known:
            person = person_behind(row.user, links, row.day)
            known[row.user, row.day] = in_force(of_person.get(person, ()), row.day)
        return known[row.user, row.day]

    return [account_of(row) for row in rows]
