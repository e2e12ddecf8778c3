"""Which account an event counts to, and by which rule: its own word, else its user's group calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from urllib.parse import quote

from cli.apis import Apis, Unreachable

REMEMBER_SECONDS = 10.0
NOBODY_YET_SECONDS = 1.0
REMEMBERED = 10_000

USED = ("track", "page", "screen")
"""The calls that should count to an account."""
GROUP_CALL = "the user's group call"
_RULES = {"group": "this group call", "subject": "the subject of its CloudEvent"}


@dataclass(frozen=True)
class Account:
    """``id`` is None while there is none, or where ``is_known`` is False; ``rule`` then says why, and what to do."""

    id: str | None
    rule: str
    is_known: bool = True


class Belonging:
    """Remembers answers of health for some seconds, and group calls that have passed by here: health may not have read
    them yet."""

    def __init__(self, apis: Apis) -> None:
        self._apis = apis
        self._remembered: dict[tuple[str, bool, str], tuple[str | None, float]] = {}
        self._group_calls: dict[tuple[str, bool], str] = {}
        self._silent_until = 0.0

    def hear(self, event: dict[str, Any]) -> None:
        """To be told of every event before anything is asked about it or those beside it."""
        if event["kind"] == "group" and (who := _who(event)) is not None:
            if len(self._group_calls) >= REMEMBERED:
                self._group_calls.clear()
            self._group_calls[who] = event["account_id"]

    def of(self, event: dict[str, Any]) -> Account:
        """Never raises."""
        if event["account_id"] is not None:
            rule = event["account_rule"]
            return Account(event["account_id"], _RULES.get(rule, rule))
        if (who := _who(event)) is None:
            return Account(None, "it names no user either, so nothing will say whose it is – send userId or groupId")
        if (heard := self._group_calls.get(who)) is not None:
            return Account(heard, GROUP_CALL)
        day = datetime.fromisoformat(event["occurred_at"]).astimezone(UTC).date()
        try:
            found = self._ask(*who, day=day.isoformat())
        except Unreachable:
            return Account(None, "not known: health, which knows the group calls, does not answer", is_known=False)
        return Account(found, GROUP_CALL) if found is not None else Account(None, _waits_for(*who))

    def _ask(self, user_id: str, anonymous: bool, day: str) -> str | None:
        """Raises Unreachable; then it is left alone for some seconds, so that events go on being shown."""
        now = monotonic()
        if now < self._silent_until:
            raise Unreachable("health did not answer a moment ago")
        known = self._remembered.get((user_id, anonymous, day))
        if known is not None and now - known[1] < (NOBODY_YET_SECONDS if known[0] is None else REMEMBER_SECONDS):
            return known[0]
        path = f"/v1/users/{quote(user_id, safe='')}/accounts"
        try:
            account: str | None = self._apis.get("health", path, anonymous=anonymous, on=day)["account_id"]
        except Unreachable:
            self._silent_until = monotonic() + REMEMBER_SECONDS
            raise
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        self._remembered[user_id, anonymous, day] = (account, monotonic())
        return account


def _who(event: dict[str, Any]) -> tuple[str, bool] | None:
    """Its user, else its visitor, with whether the id is an anonymous one."""
    if event["user_id"]:
        return event["user_id"], False
    return (event["anonymous_id"], True) if event["anonymous_id"] else None


def _waits_for(user_id: str, anonymous: bool) -> str:
    if anonymous:
        return (
            f"waits for a group call of visitor {user_id}, or an identify call that says who it is – or send "
            "properties.account_id"
        )
    return f"waits for a group call of user {user_id} – call group(), or send properties.account_id"


def those_without_account(apis: Apis, events: Sequence[dict[str, Any]]) -> str:
    """Of a source's last events: what health knows of those that name no account, in a sentence."""
    belonging = Belonging(apis)
    for event in reversed(events):
        belonging.hear(event)
    unnamed = [belonging.of(event) for event in events if event["account_id"] is None and event["kind"] in USED]
    if not all(account.is_known for account in unnamed):
        return "Health, which knows all group calls, does not answer; so nobody can tell how many count to an account."
    lost = sum(account.id is None for account in unnamed)
    if not lost:
        return "Health knows earlier group calls of all of these users, so none of the events is lost to its account."
    return (
        f"By all group calls that health knows, {len(unnamed) - lost} of them count to an account, and {lost} to none."
    )
