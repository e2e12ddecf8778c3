"""Who is behind a user key and where they belong, and what one more call about it can change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from services.health.domain import Call, Calls, person_behind
from services.health.domain.membership import (
    Attributable,
    adds_nothing,
    attribute,
    calls_of_people,
    stands_for_nobody,
)


@dataclass(frozen=True)
class UserDay:
    """What a user did on a day, as far as belonging is concerned."""

    user: str
    day: date
    account: str | None = None


@dataclass(frozen=True)
class Identities:
    """All calls and links that matter for some user keys, as `store.identities.load` finds them.

    ``shared`` keys stand for nobody in particular, so their links are left out of ``links``.
    """

    calls: Calls = field(default_factory=dict)
    links: Calls = field(default_factory=dict)
    shared: frozenset[str] = frozenset()

    @classmethod
    def of(cls, calls: Calls, links: Calls) -> Identities:
        shared = frozenset(user for user, linked in links.items() if stands_for_nobody(linked))
        return cls(calls, {user: linked for user, linked in links.items() if user not in shared}, shared)

    def accounts(self, rows: Sequence[Attributable]) -> list[str | None]:
        """The account of each row, None while nobody has said where the user belongs."""
        return attribute(rows, self.calls, self.links)

    def person(self, user: str, day: date) -> str:
        return person_behind(user, self.links, day)

    def joining_changes_nothing(self, user: str, day: date, account: str) -> bool:
        return adds_nothing(self._calls_of_people.get(self.person(user, day), ()), day, account)

    def linking_changes_nothing(self, user: str, day: date, person: str) -> bool:
        return adds_nothing(self.links.get(user, ()), day, person)

    def people_of(self, user: str) -> frozenset[str]:
        """``user`` and everybody whom it has ever stood for, directly or through others."""
        return self._reach([user], self._targets)

    def has_called(self, user: str) -> bool:
        """Whether ``user``, or an id that has stood for it, has ever said where it belongs."""
        return any(key in self.calls for key in self._reach([user], self._sources))

    def accounts_named_by(self, user: str) -> set[str]:
        """Every account that any id of any of the user's people has named."""
        kin = self._reach(self.people_of(user), self._sources)
        return {call.target for key in kin for call in self.calls.get(key, ())}

    @cached_property
    def _calls_of_people(self) -> dict[str, list[Call]]:
        return calls_of_people(self.calls, self.links)

    @cached_property
    def _targets(self) -> dict[str, set[str]]:
        return {user: {call.target for call in linked} for user, linked in self.links.items()}

    @cached_property
    def _sources(self) -> dict[str, set[str]]:
        sources: dict[str, set[str]] = {}
        for user, targets in self._targets.items():
            for target in targets:
                sources.setdefault(target, set()).add(user)
        return sources

    @staticmethod
    def _reach(start: Iterable[str], edges: dict[str, set[str]]) -> frozenset[str]:
        reached, waiting = set(start), list(start)
        while waiting:
            for following in edges.get(waiting.pop(), ()):
                if following not in reached:
                    reached.add(following)
                    waiting.append(following)
        return frozenset(reached)
