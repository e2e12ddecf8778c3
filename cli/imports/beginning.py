"""Where to begin with a file that may have been sent before, in part, as a whole, or as it was then."""

from __future__ import annotations

from datetime import UTC, datetime

from cli.imports.destination import Destination
from cli.imports.journal import IDS_ARE_KNOWN, Journal
from cli.imports.names import Kind
from cli.imports.plan import Plan, Wanted
from cli.imports.problems import Misused
from cli.imports.sending import BATCH_EVENTS
from cli.imports.work import IN_FLIGHT


def fresh(plan: Plan, wanted: Wanted, to: Destination, old: Journal | None) -> Journal:
    """Of a file of which nothing counts as sent."""
    now = datetime.now(UTC)
    return Journal(
        kind=plan.kind,
        source=to.source_id,
        key=to.key_digest,
        url=to.url,
        mapping=wanted.mapping_digest(plan.kind),
        as_of=plan.as_of,
        # Ids are forgotten some days after they were first heard of, not after the last time.
        first_sent_at=old.first_sent_at if old and old.ids_are_known else now,
        last_sent_at=now,
    )


def expect_the_same(old: Journal, plan: Plan, wanted: Wanted, to: Destination) -> None:
    """Raises Misused when what was sent went elsewhere, or was read in another way."""
    name = plan.file.name
    done = "was sent" if old.completed else f"was sent up to line {old.lines}"
    known = old.source is not None and to.source_id is not None
    if old.source != to.source_id if known else old.key != to.key_digest:
        where = f"to source {old.source}" if old.source is not None else f"with another write key, to {old.url}"
        raise Misused(f"{name} {done} {where}. --again sends all of it to where you say now.")
    if old.mapping != wanted.mapping_digest(plan.kind):
        follows = (
            "what it says now takes the place of what it said"
            if plan.kind is Kind.ACCOUNTS
            else "rows that were sent stay as they were read then, for they are recognised"
        )
        raise Misused(
            f"{name} {done} with other options (kind, columns, dates, ids). --again sends all of it with "
            f"these: {follows}."
        )


def expect_recognised(old: Journal, plan: Plan) -> str:
    """What is to be said when a file has changed where it was sent before. Raises Misused when events would count
    twice."""
    name = plan.file.name
    if old.ids_are_known:
        return (
            f"{name} has changed since it was sent: all of it is sent, and rows that were there have no second effect."
        )
    if plan.kind is Kind.ACCOUNTS:
        return f"{name} has changed since it was sent: all of it is sent."
    raise Misused(
        f"{name} has changed where it was sent on {old.first_sent_at:%Y-%m-%d}, which is too long ago for its rows "
        "to be recognised: those that are still there would count twice. Keep only the new ones, in "
        "another file; or --again sends all of it."
    )


def doubt(old: Journal) -> str | None:
    """What cannot be promised when something goes on that ended in the middle long ago."""
    if old.completed or old.kind is Kind.ACCOUNTS or datetime.now(UTC) - old.last_sent_at < IDS_ARE_KNOWN:
        return None
    return (
        f"It ended in the middle on {old.last_sent_at:%Y-%m-%d}: of what was on its way then, at most "
        f"{IN_FLIGHT * BATCH_EVENTS} rows may count twice."
    )
