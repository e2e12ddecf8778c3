"""What the last events of a source say about how its product was connected: sentences, each with what to do.

Ingest sees what events say by themselves. Whose account they count to is known to health, so nothing here claims it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.common.events import TelemetryKind
from services.ingest.domain.recent import KEPT_DAYS, RecentEvent, RecentReject
from services.ingest.domain.remedies import remedy
from services.ingest.domain.times import CORRECTED, IN_FUTURE, MISSING, UNREADABLE

SILENT = timedelta(days=2)
WORTH_SAYING = 0.1
"""Of the calls that should belong to an account: a few that do not are pages before the login. And of live times that
were replaced: a few are devices of users. Of history, and of what was refused, every one is worth saying."""
REFUSED_LATELY = timedelta(days=1)
"""Older refusals have been mended, or nobody minds."""
TRIED_AGAIN = {408, 429}
"""Statuses, beside those of 5xx, after which senders come again by themselves: nothing is lost."""
USED_FOR_ACCOUNTS = {TelemetryKind.TRACK, TelemetryKind.PAGE, TelemetryKind.SCREEN}

READABLE = "Send ISO 8601, as 2026-03-02T12:00:00Z, or seconds or milliseconds since 1970, as `timestamp`."
"""A remedy."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is for programs and stays the same; ``remedy`` says what to do."""

    code: str
    sentence: str
    remedy: str


def findings(events: Sequence[RecentEvent], rejects: Sequence[RecentReject], now: datetime) -> list[Finding]:
    """``events`` and ``rejects`` are the last of a source, newest first; ``now`` is domain time."""
    return [
        *_arrival(events, rejects, now),
        *_accounts(events),
        *_clocks(events),
        *_history(events),
        *_message_ids(events),
    ]


def _arrival(events: Sequence[RecentEvent], rejects: Sequence[RecentReject], now: datetime) -> Iterator[Finding]:
    if not events and not rejects:
        yield Finding(
            "nothing_arrived",
            f"Nothing has arrived within {KEPT_DAYS} days.",
            "Give a write key of this source to the product's SDK, send one event, and watch `kizashi tail`.",
        )
        return
    later = [reject for reject in rejects if not events or reject.received_at > events[0].received_at]
    if later and not (events and len(later) < len(events)):
        code, _ = Counter(reject.code for reject in later).most_common(1)[0]
        [message, *_] = [reject.message for reject in later if reject.code == code]
        since = f" since {_moment(events[0].received_at)}" if events else ""
        refused = _counted(sum(reject.times for reject in later))
        yield Finding(
            "only_rejected",
            f"Nothing was taken{since}, and {refused} refused, mostly as {code}: {message}",
            remedy(code),
        )
        return
    yield from _some_refused(events, rejects, now)
    if events and (silence := now - events[0].received_at) > SILENT:
        yield Finding(
            "silent",
            f"No event has arrived since {_moment(events[0].received_at)}, {silence.days} days ago.",
            "See whether the product still sends, and with a write key that works: kizashi keys list.",
        )


def _some_refused(events: Sequence[RecentEvent], rejects: Sequence[RecentReject], now: datetime) -> Iterator[Finding]:
    """Beside events that were taken. Only as far back as these are kept, or the two could not be compared."""
    if not events:
        return
    first = max(events[-1].received_at, now - REFUSED_LATELY)
    lost = [reject for reject in rejects if reject.received_at >= first and not _comes_again(reject)]
    if lost:
        [(code, _), *_] = Counter(reject.code for reject in lost).most_common(1)
        message = next(reject.message for reject in lost if reject.code == code)
        number = sum(reject.times for reject in lost)
        taken = sum(event.received_at >= first for event in events)
        mostly = "as" if len({reject.code for reject in lost}) == 1 else "mostly as"
        yield Finding(
            "some_rejected",
            f"Since {_moment(first)} {taken:,} {'event was' if taken == 1 else 'events were'} taken, and "
            f"{_counted(number)} refused, the last on {_moment(lost[0].received_at)}, {mostly} {code}: {message}",
            f"{remedy(code)} `kizashi tail --rejects` shows each.".strip(),
        )


def _comes_again(reject: RecentReject) -> bool:
    return reject.status is not None and (reject.status >= 500 or reject.status in TRIED_AGAIN)


def _accounts(events: Sequence[RecentEvent]) -> Iterator[Finding]:
    """A user's group call may have come long before, so that all is well: it says so."""
    grouped = {who for event in events if event.kind == TelemetryKind.GROUP for who in _ids(event)}
    used = [event for event in events if event.kind in USED_FOR_ACCOUNTS]
    lost = [event for event in used if event.account_id is None and grouped.isdisjoint(_ids(event))]
    if lost and len(lost) >= WORTH_SAYING * len(used):
        yield Finding(
            "no_account",
            f"{len(lost)} of the last {len(used)} track, page and screen calls name no account, and among the last "
            f"{len(events)} events there is no group call of their users. Those whose users made one earlier count to "
            "its account all the same: `kizashi tail` shows which.",
            "Call group(userId, accountId) once after each login, or send the account with each event, as the property "
            "account_id.",
        )


def _clocks(events: Sequence[RecentEvent]) -> Iterator[Finding]:
    live = [event for event in events if not event.historical]
    if live and _flagged(live, CORRECTED + IN_FUTURE) == len(live):
        yield Finding(
            "clocks",
            f"The last {len(live)} live events all come from clocks that are wrong by more than five minutes; their "
            "times were corrected by the time of sending, or replaced by that of arrival.",
            "Set the sender's clock (NTP), and its time zone: times are read as UTC when they name none.",
        )
        return
    unreadable, ahead = _flagged(live, UNREADABLE), _flagged(live, IN_FUTURE)
    if unreadable and unreadable >= WORTH_SAYING * len(live):
        yield Finding(
            "timestamps",
            f"The timestamps of {unreadable} of the last {len(live)} live events cannot be read; they have the time of "
            "their arrival.",
            READABLE,
        )
    if ahead and ahead >= WORTH_SAYING * len(live):
        yield Finding(
            "future_timestamps",
            f"The timestamps of {ahead} of the last {len(live)} live events are in the future; they have the time of "
            "their arrival.",
            "Set the sender's clock (NTP) and its time zone, and send when something happened, not when it is due.",
        )


def _history(events: Sequence[RecentEvent]) -> Iterator[Finding]:
    """Arrival is a wrong time for every event of the past, and its account seems used today."""
    history = [event for event in events if event.historical]
    wrong = {
        "without timestamp": _flagged(history, MISSING),
        "with one that cannot be read": _flagged(history, UNREADABLE),
        "with one in the future": _flagged(history, IN_FUTURE),
    }
    if number := sum(wrong.values()):
        told = ", ".join(f"{count} {how}" for how, count in wrong.items() if count)
        yield Finding(
            "history_times",
            f"{number} of the last {len(history)} events of history have the time of their arrival: {told}. They count "
            "as if they had just happened.",
            f"{READABLE} What was taken keeps its time: before the source is live, try with a few events and look at "
            "`kizashi tail`.",
        )


def _flagged(events: Sequence[RecentEvent], flags: tuple[str, ...]) -> int:
    return sum(not set(flags).isdisjoint(event.flags) for event in events)


def _message_ids(events: Sequence[RecentEvent]) -> Iterator[Finding]:
    if events and not any(event.message_id_sent for event in events):
        yield Finding(
            "no_message_id",
            f"None of the last {len(events)} events has a messageId: one that is sent twice without a timestamp counts "
            "twice.",
            "Send an id of its own with each event, as messageId, and the same one when it is sent again.",
        )


def _ids(event: RecentEvent) -> set[tuple[str, str]]:
    known = (("user", event.user_id), ("visitor", event.anonymous_id))
    return {(kind, value) for kind, value in known if value is not None}


def _counted(number: int) -> str:
    return "one event or request was" if number == 1 else f"{number:,} events or requests were"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
