"""A row -> the call that is sent, with an id that is the same whenever the row is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cli.imports.columns import Columns, Place
from cli.imports.names import CALLS, FIELDS, Kind
from cli.imports.problems import RowRefused
from cli.imports.values import Reader

_encode = msgspec.json.Encoder(order="sorted").encode
_ABOUT = ("groupId", "userId", "timestamp")
_WHO = ("userId", "anonymousId", "groupId")
_MAY_NAME_AN_ACCOUNT = ("properties", "traits", "context")


class Calls:
    """Makes one call of each row; to be asked about each once, in their order, those that were sent before too.

    The id of an account's row stands for all that the row says, its date included: to say the same again is nothing
    new, to say something else is. The id of an event's row stands for the row as it is in the file, whatever its
    columns are taken for, and for how often the same row came before: so two that are alike are two events, and no
    event is counted again because somebody reads the columns better now. Where rows have ids of their own, those are
    taken: a `message_id` as it is, what ``id_column`` names together with the event's name.
    """

    def __init__(
        self,
        columns: Columns,
        reader: Reader,
        *,
        as_of: str | None,
        id_column: str | None,
        repeats_before: Callable[[bytes], int],
    ) -> None:
        """``as_of`` dates rows that have no date, ISO 8601; None refuses them."""
        self._columns = columns
        self._reader = reader
        self._as_of = as_of
        self._id_column = id_column
        self._repeats_before = repeats_before
        self._paths = [name for name in columns.found if "." in name]

    def call_of(self, cells: Mapping[str, object]) -> dict[str, Any]:
        """Raises RowRefused."""
        # Counted whatever becomes of the row: refused today it may be taken tomorrow, and others keep their ids.
        row = self._number(cells)
        call: dict[str, Any] = {}
        inner: dict[str, dict[str, object]] = {}
        for column, value in self._values(cells):
            target = self._columns.target_of(column)
            if target.place is Place.NOWHERE:
                continue
            if target.place is Place.CALL and target.name == "timestamp":
                read = self._reader.read_time(column, value)
            else:
                read = self._reader.read(column, value, target.type)
            if read is None:
                continue
            if target.place is Place.CALL:
                call.setdefault(FIELDS[target.name], read)
            else:
                inner.setdefault(target.place, {})[target.name] = read
        for place, members in inner.items():
            given = call.get(place)
            call[place] = {**given, **members} if isinstance(given, dict) else members
        self._complete(call)
        if "messageId" not in call:
            call["messageId"] = self._id(call, cells, row)
        if self._columns.kind is Kind.ACCOUNTS:
            self._expect_no_contradiction(call)
        return call

    def _values(self, cells: Mapping[str, object]) -> list[tuple[str, object]]:
        """The best names first, and those that somebody named by their path: `properties.distinct_id`."""
        found = sorted(cells.items(), key=lambda cell: self._columns.rank(cell[0]))
        for path in self._paths:
            if path not in cells and (value := _at(cells, path)) is not None:
                found.append((path, value))
        return found

    def _complete(self, call: dict[str, Any]) -> None:
        if self._columns.kind is Kind.ACCOUNTS:
            call["type"] = "group"
            if "groupId" not in call:
                raise RowRefused("missing_account_id", "The row names no account.")
            if not call.get("traits"):
                raise RowRefused("nothing_said", "The row says nothing about the account.")
        else:
            call["type"] = str(call.get("type", "track")).casefold()
            if call["type"] not in CALLS:
                raise RowRefused(
                    "unknown_type", f"«{call['type'][:60]}» is no call; type says one of {', '.join(CALLS)}."
                )
        if call["type"] == "track" and "event" not in call:
            raise RowRefused("missing_event", "The row does not say what happened (event).")
        if call.setdefault("timestamp", self._as_of) is None:
            raise RowRefused(
                "missing_timestamp", "The row does not say when it happened, and would count as of today; see --as-of."
            )
        if not any(name in call for name in (*_WHO, *_MAY_NAME_AN_ACCOUNT)) and call["type"] != "alias":
            raise RowRefused("missing_user", "The row names neither a user nor an account.")

    def _number(self, cells: Mapping[str, object]) -> tuple[bytes, int]:
        """What stands for the row in its file, where it has no id, and how many like it came before."""
        if self._columns.kind is Kind.ACCOUNTS or self._id_column or self._has_own_id(cells):
            return b"", 0
        digest = _digest(b"row", {name: value for name, value in cells.items() if value not in ("", None)})
        return digest, self._repeats_before(digest)

    def _expect_no_contradiction(self, call: Mapping[str, Any]) -> None:
        """Health takes the latest word; of two that are equally late nobody could tell which it takes."""
        said_before = self._repeats_before(_digest(b"call", call))
        spoken_of = self._repeats_before(_digest(b"about", [call[name] for name in _ABOUT if name in call]))
        if spoken_of and not said_before:
            raise RowRefused(
                "contradiction",
                f"An earlier row says something else of account {call['groupId']}, as of the same date; keep one.",
            )

    def _has_own_id(self, cells: Mapping[str, object]) -> bool:
        return any(cells.get(name) not in ("", None) for name in self._columns.message_ids)

    def _id(self, call: Mapping[str, Any], cells: Mapping[str, object], row: tuple[bytes, int]) -> str:
        if self._id_column:
            own = cells.get(self._id_column, _at(cells, self._id_column))
            if own is None or not str(own).strip():
                raise RowRefused("missing_id", f"The row has no {self._id_column}.")
            return _named(_digest(b"id", [call["type"], call.get("event"), str(own).strip()]))
        if self._columns.kind is Kind.ACCOUNTS:
            return _named(_digest(b"call", call))
        digest, repeat = row
        return _named(_digest(b"again", [digest.hex(), repeat]) if repeat else digest)


def _at(cells: Mapping[str, object], path: str) -> object:
    found: object = cells
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _digest(what: bytes, said: object) -> bytes:
    return hashlib.blake2b(_encode(said), digest_size=16, person=what).digest()


def _named(digest: bytes) -> str:
    """Whoever sees it in `kizashi tail` knows where it comes from."""
    return f"import-{digest.hex()}"
