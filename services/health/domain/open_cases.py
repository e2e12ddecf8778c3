"""Cases that were opened and not closed since: tickets, failed payments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from services.health.domain.facts import Occurrence, day_of
from services.health.domain.model import OpenCases


def open_cases(measured: OpenCases, occurrences: Iterable[Occurrence], today: date) -> list[Occurrence]:
    """The latest opening of every case that was opened within the window and not closed since, oldest first."""
    closed_at: dict[str | None, datetime] = {}
    opened: dict[str, Occurrence] = {}
    for one in sorted(occurrences, key=lambda one: (one.at, one.id)):
        if one.event == measured.closed_by:
            closed_at[_case(one, measured.matched_by)] = one.at
        if one.event == measured.opened.event and _matches(one, measured.opened.where):
            opened[_case(one, measured.matched_by) or one.id] = one
    return sorted(
        (
            one
            for one in opened.values()
            if (today - day_of(one.at)).days < measured.window_days
            and not _closed(closed_at.get(_case(one, measured.matched_by)), one.at)
        ),
        key=lambda one: (one.at, one.id),
    )


def _case(one: Occurrence, matched_by: str | None) -> str | None:
    """The name of the case that an occurrence opens or closes; None when it does not say."""
    return None if matched_by is None or matched_by not in one.properties else str(one.properties[matched_by])


def _closed(closed_at: datetime | None, opened_at: datetime) -> bool:
    return closed_at is not None and closed_at >= opened_at


def _matches(one: Occurrence, where: Mapping[str, Sequence[str]]) -> bool:
    return all(
        name in one.properties
        and str(one.properties[name]).strip().casefold() in {value.casefold() for value in values}
        for name, values in where.items()
    )
