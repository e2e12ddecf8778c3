"""Which column means what: as its name says, as somebody says, and otherwise a trait or a property."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cli.imports.names import CALLS, FIELDS, FIELDS_OF_ACCOUNTS, SYNONYMS, USUAL_TYPES, Kind
from cli.imports.problems import Misused
from cli.imports.values import Type


class Place(StrEnum):
    CALL = "call"  # a field of the call itself
    TRAITS = "traits"
    PROPERTIES = "properties"
    NOWHERE = "nowhere"


class Because(StrEnum):
    NAMED = "so named"
    RECOGNISED = "recognised"
    SAID = "as you say"
    OTHER = ""


@dataclass(frozen=True, slots=True)
class Target:
    """``name`` inside of ``place``; of a call, as people write it."""

    place: Place
    name: str = ""
    type: Type = Type.PLAIN

    def __str__(self) -> str:
        if self.place is Place.NOWHERE:
            return "left out"
        return self.name if self.place is Place.CALL else f"{self.place}.{self.name}"


_MESSAGE_ID = Target(Place.CALL, "message_id", Type.TEXT)


class Columns:
    """``text`` when cells are text: then what is no field of a call is a property or a trait. Else only what an SDK
    would put into a call is taken, and what it puts beside it (`integrations`, `receivedAt`) is left out.
    ``types_are_calls``: a column `type` says track, identify and so on, and not what sort of thing a row is."""

    def __init__(self, kind: Kind, said: Mapping[str, str], *, text: bool, types_are_calls: bool) -> None:
        """Raises Misused for a target that cannot be."""
        self.kind = kind
        self._text = text
        self._left_alone = set() if types_are_calls else {"type"}
        if text and kind is Kind.EVENTS:
            # Of a page. As a property ingest finds it too, and that is what it is in any other call.
            self._left_alone.add("name")
        self.found: dict[str, tuple[Target, Because]] = {
            column: (_target_said(kind, column, target), Because.SAID) for column, target in said.items()
        }
        self._taken: set[str] = set()
        for column, (target, _) in self.found.items():
            if target.place is not Place.NOWHERE and str(target) in self._taken:
                raise Misused(f'"{column}={target}": another column is {target} already.')
            self._taken.add(str(target))
        self._ranks: dict[str, int] = {}
        self.message_ids = {column for column, (target, _) in self.found.items() if target == _MESSAGE_ID}
        """The columns that hold ids by which ingest knows an event."""
        fields = FIELDS_OF_ACCOUNTS if kind is Kind.ACCOUNTS else tuple(FIELDS)
        wanted = {**{name: () for name in fields if name not in self._left_alone}, **SYNONYMS[kind]}
        self._recognisable = {target: (target, *others) for target, others in wanted.items()}

    def settle(self, names: Sequence[str]) -> None:
        """Decide about all columns of a header, or fields of the first rows, at once: of two that mean the same the
        better name wins. Raises Misused for names that nobody could tell apart."""
        left = [name for name in names if name not in self.found]
        if self._text:
            _expect_distinct(left)
        for target, accepted in self._recognisable.items():
            for spelling in accepted:
                for name in [name for name in left if _spelling(name) == spelling]:
                    if self._take(name, target):
                        left.remove(name)
        for name in left:
            found = self._otherwise(name)
            if self._text and found.place is not Place.NOWHERE and str(found) in self._taken:
                raise Misused(
                    f'Another column than "{name}" is {found} already; say what it is: --map "{name}=TARGET".'
                )
            self._taken.add(str(found))
            self.found[name] = (found, Because.OTHER)
        # In the order of the file, for who looks at them.
        self.found = {name: self.found[name] for name in dict.fromkeys((*names, *self.found))}

    def target_of(self, name: str) -> Target:
        """Also of a field that only later rows have."""
        if name in self.found:
            return self.found[name][0]
        spelling = _spelling(name)
        for target, accepted in self._recognisable.items():
            if spelling in accepted and self._take(name, target):
                return self.found[name][0]
        return self._otherwise(name)  # not remembered: whoever has ids for names has a great many

    def rank(self, name: str) -> int:
        """Of several fields of a row that mean the same, the one with the lowest counts."""
        return self._ranks.get(name, 0)

    def has(self, *targets: str) -> bool:
        return any(target in self._taken for target in targets)

    @property
    def guessed(self) -> bool:
        return any(because is Because.RECOGNISED for _, because in self.found.values())

    def _take(self, name: str, target: str) -> bool:
        """In a table one column has a meaning; of JSON every row may call it by another name."""
        found = self._target(target)
        if str(found) in self._taken and (self._text or self.kind is Kind.ACCOUNTS):
            return False
        self._taken.add(str(found))
        self.found[name] = (found, Because.NAMED if snake(name) == target else Because.RECOGNISED)
        if found == _MESSAGE_ID:
            self.message_ids.add(name)
        self._ranks[name] = self._recognisable[target].index(_spelling(name))
        return True

    def _target(self, name: str) -> Target:
        if name in (FIELDS_OF_ACCOUNTS if self.kind is Kind.ACCOUNTS else FIELDS):
            return Target(Place.CALL, name, USUAL_TYPES.get(name, Type.TEXT))
        return Target(Place.TRAITS, name, _trait_type(name))

    def _otherwise(self, name: str) -> Target:
        if name.startswith("#"):
            return Target(Place.NOWHERE)
        for place in (Place.PROPERTIES, Place.TRAITS):
            if name.startswith(f"{place}."):
                inner = name.removeprefix(f"{place}.")
                return Target(place, inner, _trait_type(inner) if place is Place.TRAITS else Type.PLAIN)
        if self.kind is Kind.ACCOUNTS:
            return Target(Place.TRAITS, snake(name), _trait_type(snake(name)))
        return Target(Place.PROPERTIES, name) if self._text else Target(Place.NOWHERE)


def _expect_distinct(names: Iterable[str]) -> None:
    for name in names:
        first, _, number = name.rpartition("#")
        if first and number.isdecimal():
            raise Misused(
                f'Two columns are called "{first}". Rename one, or say what the second is: --map "{name}=TARGET", and '
                f'--map "{name}=" leaves it out.'
            )


def kind_of(names: Iterable[str], types: Iterable[object]) -> Kind | None:
    """What rows with these columns are; ``types`` are the values of a column `type`, if there is one. None when they
    could be either or neither."""
    spellings = {_spelling(name) for name in names}
    if spellings & {"event", *SYNONYMS[Kind.EVENTS]["event"]}:
        return Kind.EVENTS
    if are_calls(types):
        return Kind.EVENTS
    if spellings & {"user_id", "userid", "anonymous_id"}:
        return None
    if spellings & {"account_id", *SYNONYMS[Kind.ACCOUNTS]["account_id"]}:
        return Kind.ACCOUNTS
    return None


def are_calls(types: Iterable[object]) -> bool:
    """Whether most of them are: some that are not cost their rows, and no others."""
    named = [one.strip().casefold() for one in types if isinstance(one, str) and one.strip()]
    return 2 * sum(one in CALLS for one in named) > len(named)


def snake(name: str) -> str:
    """«Company ID», «companyId» and «company-id» are company_id."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\W_]+", "_", parted).strip("_").casefold() or name


def _spelling(name: str) -> str:
    """As synonyms are looked for: «ARR (USD)» is arr."""
    return re.sub(r"(?<=.)_(?:usd|eur|gbp|jpy|chf)$", "", snake(name))


def _trait_type(name: str) -> Type:
    return USUAL_TYPES.get(name, Type.PLAIN)


def _target_said(kind: Kind, column: str, said: str) -> Target:
    target, _, type_name = said.strip().partition(":")
    target = target.strip()
    if not target:
        return Target(Place.NOWHERE)
    if type_name and type_name not in [*Type]:
        raise Misused(f'"{column}={said}": {type_name} is no type; there are {", ".join(Type)}.')
    found = _target_named(kind, target)
    if found is None:
        raise Misused(f'"{column}={said}": an {kind[:-1]} has no {target}; did you mean traits.{target}?')
    return Target(found.place, found.name, Type(type_name)) if type_name else found


def _target_named(kind: Kind, target: str) -> Target | None:
    for place in (Place.TRAITS, Place.PROPERTIES):
        if target.startswith(f"{place}.") and len(target) > len(place) + 1:
            if place is Place.PROPERTIES and kind is Kind.ACCOUNTS:
                return None
            return Columns(kind, {}, text=True, types_are_calls=True)._otherwise(target)
    if target in (FIELDS_OF_ACCOUNTS if kind is Kind.ACCOUNTS else FIELDS):
        return Target(Place.CALL, target, USUAL_TYPES.get(target, Type.TEXT))
    if kind is Kind.ACCOUNTS:
        return Target(Place.TRAITS, target, _trait_type(target))
    return Target(Place.PROPERTIES, target)
