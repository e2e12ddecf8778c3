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
from services.ingest.domain.times import CORRECTED, IN_FUTURE, UNREADABLE

SILENT = timedelta(days=2)
WORTH_SAYING = 0.1
"""Of the calls that should belong to an account. A few that do not are pages before the login."""
USED_FOR_ACCOUNTS = {TelemetryKind.TRACK, TelemetryKind.PAGE, TelemetryKind.SCREEN}


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
    elif events and (silence := now - events[0].received_at) > SILENT:
        yield Finding(
            "silent",
            f"No event has arrived since {_moment(events[0].received_at)}, {silence.days} days ago.",
            "See whether the product still sends, and with a write key that works: kizashi keys list.",
        )


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
    skewed = {*CORRECTED, *IN_FUTURE}
    if events and all(skewed.intersection(event.flags) for event in events):
        yield Finding(
            "clocks",
            f"The last {len(events)} events all come from clocks that are wrong by more than five minutes; their times "
            "were corrected by the time of sending, or replaced by that of arrival.",
            "Set the sender's clock (NTP), and its time zone: times are read as UTC when they name none.",
        )
    elif events and all(set(UNREADABLE).intersection(event.flags) for event in events):
        yield Finding(
            "timestamps",
            f"The timestamps of the last {len(events)} events cannot be read; they have the time of their arrival.",
            "Send ISO 8601, as 2026-03-02T12:00:00Z, or seconds or milliseconds since 1970.",
        )


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
