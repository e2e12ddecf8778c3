"""What to do with a delivery: before it leaves, when its outcome is unknown, and when to try again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.notify.domain.delivery import Delivery, Mode, Rules, Settling, State, UnknownPolicy, Waiting
from services.notify.domain.outcomes import Absent, CannotTell, Deferred

RETRY_BASE_SECONDS = 2.0
RETRY_MOST_SECONDS = 300.0
LANE_MOST_SECONDS = 60.0
"""A lane is tried again sooner than a message: it costs one attempt, however many messages wait behind it."""


DOUBTFUL_MOST = 5
"""So often at most is a message repeated that may have been told already: a server that takes mail and then always
hangs up must not fill a mailbox."""
DOUBT_GROWS = 4
LOST_MOST = timedelta(hours=1)
LOOK_UP_FAILURES = 4
"""Look-ups that did not answer are repeated as if this many had failed: within 16 s, without a counter of their own."""


# --- what to do with a delivery whose moment has come ---


@dataclass(frozen=True)
class Send:
    """``doubtful`` is the new count."""

    doubtful: int


@dataclass(frozen=True)
class LookUp:
    """Ask the provider whether it has the message."""


@dataclass(frozen=True)
class LoseSight:
    """Its owner's lease ran out: the outcome is unknown, to be settled at ``until``."""

    until: datetime


@dataclass(frozen=True)
class Wait:
    until: datetime
    why: Waiting


@dataclass(frozen=True)
class Suppress:
    reason: str
    doubtful: int = 0


@dataclass(frozen=True)
class Fail:
    reason: str
    doubtful: int = 0


Decision = Send | Wait | Suppress | Fail
NextStep = Decision | LookUp | LoseSight


def next_step(
    delivery: Delivery, rules: Rules, settling: Settling, *, now: datetime, as_of: datetime, grace: timedelta
) -> NextStep:
    """What to do with a delivery that is due.

    ``now`` is real time, ``as_of`` domain time; ``grace`` is how long after its lease a frozen owner may still be
    inside its call (client time-out and margin).
    """
    match delivery.state:
        case State.PENDING:
            return _before_sending(delivery, rules, delivery.doubtful, now, as_of)
        case State.SENDING:
            return LoseSight((delivery.lease_until or now) + grace)
        case State.UNKNOWN:
            return _settle(delivery, rules, settling, now, as_of)
        case final:
            raise ValueError(f"a delivery that is {final} is never due")


def _settle(delivery: Delivery, rules: Rules, settling: Settling, now: datetime, as_of: datetime) -> NextStep:
    match settling:
        case Settling.LOOK_UP:
            return LookUp()
        case Settling.SAME_ID:
            return _before_sending(delivery, rules, delivery.doubtful + 1, now, as_of)
        case Settling.POLICY:
            return by_policy(delivery, rules, now=now, as_of=as_of)


def by_policy(delivery: Delivery, rules: Rules, *, now: datetime, as_of: datetime) -> Decision:
    """Settle an outcome that nobody can look up."""
    doubtful = delivery.doubtful + 1
    if rules.webhook_unknown is UnknownPolicy.PREFER_MISS:
        return Fail("outcome_unknown", doubtful)
    return _before_sending(delivery, rules, doubtful, now, as_of)


def _before_sending(delivery: Delivery, rules: Rules, doubtful: int, now: datetime, as_of: datetime) -> Decision:
    if delivery.target is None:
        return Suppress("no_recipient", doubtful)
    if delivery.cancelled:
        return Suppress("cancelled", doubtful)
    if rules.kill_switch:
        return Suppress("kill_switch", doubtful)
    if rules.mode is Mode.OBSERVE:
        return Suppress("observe", doubtful)
    if rules.on_suppression_list:
        return Suppress("suppression_list", doubtful)
    if as_of > delivery.fresh_until:
        return Suppress("stale", doubtful)
    if doubtful > DOUBTFUL_MOST:
        return Fail("outcome_unknown", doubtful)
    if now >= delivery.expires_at:
        return Fail("outcome_unknown" if doubtful else "expired", doubtful)
    if rules.cap_free_at is not None:
        return Wait(rules.cap_free_at, Waiting.HOURLY_CAP)
    return Send(doubtful)


def after_look_up(
    delivery: Delivery,
    finding: Absent | CannotTell | Deferred,
    rules: Rules,
    *,
    now: datetime,
    as_of: datetime,
    luck: float,
) -> Decision:
    """What follows when the provider was asked and did not show the message. Send means: it may be sent again."""
    match finding:
        case Absent():
            return _before_sending(delivery, rules, delivery.doubtful, now, as_of)
        case CannotTell():
            return by_policy(delivery, rules, now=now, as_of=as_of)
        case Deferred(retry_after_seconds=asked):
            if now >= delivery.expires_at:
                return Fail("outcome_unknown", delivery.doubtful + 1)
            delay = max(timedelta(seconds=asked or 0), retry_delay(LOOK_UP_FAILURES, luck))
            return Wait(now + delay, Waiting.OUTCOME)


# --- when to try again ---


def retry_delay(failures: int, luck: float, most_seconds: float = RETRY_MOST_SECONDS) -> timedelta:
    """Exponential back-off with full jitter: anything up to 2 s, 4 s, 8 s … after 1, 2, 3 … failures.

    ``luck`` is a random number from 0 up to 1.
    """
    ceiling = min(most_seconds, RETRY_BASE_SECONDS * 2 ** (max(1, min(failures, 32)) - 1))
    return timedelta(seconds=ceiling * luck)


@dataclass(frozen=True)
class Retry:
    """``channel_until`` is when its whole channel may go on, if that has to wait too."""

    until: datetime
    why: Waiting
    channel_until: datetime | None = None


def retry(delivery: Delivery, outcome: Deferred, *, channel_failures: int, now: datetime, luck: float) -> Retry:
    """When to send again what the provider put off. What it asks for itself is obeyed, never shortened."""
    asked = timedelta(seconds=outcome.retry_after_seconds or 0)
    if outcome.whole_channel:
        delay = max(asked, retry_delay(channel_failures, luck, LANE_MOST_SECONDS))
        return Retry(now + delay, Waiting.CHANNEL, channel_until=now + delay)
    return Retry(now + max(asked, retry_delay(delivery.attempt, luck)), Waiting.RETRY)


def settled_from(delivery: Delivery, *, now: datetime, margin: timedelta) -> datetime:
    """When to settle an outcome that was lost while its owner lives: nobody speaks any more, but the provider may
    still be at work. Each further doubt is given four times as long."""
    patience: int = DOUBT_GROWS**delivery.doubtful
    return now + min(margin * patience, LOST_MOST)
