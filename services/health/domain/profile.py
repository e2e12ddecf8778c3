"""Who an account is commercially, read from the traits that products send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

import msgspec

from services.health.domain.facts import Scalar, calendar_day, text
from services.health.domain.numbers import number

LONGEST_NAME = 80
_ADDRESS = re.compile(r"://|www\.|@|\w\.[a-z]{2,}|[/\\<>]", re.IGNORECASE)
"""Of a page or a mailbox, with or without its beginning, or markup around one. «J.R. Tolkien» is none."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What alerts and letters show. ``arr`` is annual recurring revenue in whole units of currency; a value that
    cannot be read (a renewal «soon») is None. ``contact_name`` is put into mails, and whoever can send an event can
    send one: what looks like more than a name is None."""

    name: str
    arr: float | None = None
    owner: str | None = None
    contact_email: str | None = None
    contact_name: str | None = None
    renewal_date: date | None = None


def normalised(traits: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Traits under one spelling: ``renewalDate``, ``Renewal Date`` and ``renewal-date`` are ``renewal_date``.

    When two spellings meet, the one already in that form wins, else the last in alphabetical order.
    """
    names = sorted(traits, key=lambda name: (_snake(name) == name, name))
    return {_snake(name): traits[name] for name in names}


def profile_of(account_id: str, traits: Mapping[str, Scalar]) -> Profile:
    """The profile of the account, from `normalised` traits. Without a name the account is called by its id."""
    email = text(traits.get("contact_email"))
    return Profile(
        name=text(traits.get("name")) or account_id,
        arr=number(traits.get("arr")),
        owner=text(traits.get("owner")),
        contact_email=email if email and "@" in email else None,
        contact_name=_name_of_a_person(traits.get("contact_name")),
        renewal_date=calendar_day(traits.get("renewal_date")),
    )


def _name_of_a_person(value: Scalar | None) -> str | None:
    name = text(value)
    if name is None or len(name) > LONGEST_NAME or not name.isprintable() or _ADDRESS.search(name):
        return None
    return name


def _snake(name: str) -> str:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[\s_-]+", "_", parted.strip()).lower()
