"""What happens to a delivery next, without a database and without a network."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notify.domain.decisions import (
    DOUBTFUL_MOST,
    LANE_MOST_SECONDS,
    RETRY_MOST_SECONDS,
    Fail,
    LookUp,
    LoseSight,
    NextStep,
    Send,
    Suppress,
    Wait,
    after_look_up,
    next_step,
    retry,
    retry_delay,
    settled_from,
)
from services.notify.domain.delivery import Delivery, Mode, Rules, Settling, State, UnknownPolicy, Waiting
from services.notify.domain.outcomes import Absent, CannotTell, Deferred
from tests.unit.notify.samples import NOW, delivery

OPEN = Rules(mode=Mode.ENABLED)
GRACE = timedelta(seconds=25)


def step(
    one: Delivery,
    rules: Rules = OPEN,
    settling: Settling = Settling.LOOK_UP,
    *,
    now: datetime = NOW,
    as_of: datetime = NOW,
) -> NextStep:
    return next_step(one, rules, settling, now=now, as_of=as_of, grace=GRACE)


def test_what_nothing_speaks_against_is_sent() -> None:
    assert step(delivery()) == Send(0)


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({"target": None}, OPEN, "no_recipient"),
        ({"cancelled": True}, OPEN, "cancelled"),
        ({}, Rules(mode=Mode.ENABLED, kill_switch=True), "kill_switch"),
        ({}, Rules(), "observe"),
        ({}, Rules(mode=Mode.ENABLED, on_suppression_list=True), "suppression_list"),
        ({"fresh_until": NOW - timedelta(seconds=1)}, OPEN, "stale"),
    ],
)
def test_reasons_not_to_tell(changes: dict[str, Any], rules: Rules, reason: str) -> None:
    assert step(delivery(**changes), rules) == Suppress(reason)


def test_a_new_workspace_is_in_observe() -> None:
    assert Rules().mode is Mode.OBSERVE


def test_staleness_is_judged_by_domain_time_and_expiry_by_real_time() -> None:
    assert step(delivery(), as_of=NOW + timedelta(days=2)) == Suppress("stale")
    assert step(delivery(), now=NOW + timedelta(days=2)) == Fail("expired")


def test_what_is_over_the_cap_waits_until_there_is_room() -> None:
    free_at = NOW + timedelta(minutes=20)
    assert step(delivery(), Rules(mode=Mode.ENABLED, cap_free_at=free_at)) == Wait(free_at, Waiting.HOURLY_CAP)


def test_staleness_wins_over_the_cap() -> None:
    capped = Rules(mode=Mode.ENABLED, cap_free_at=NOW + timedelta(minutes=20))
    assert step(delivery(), capped, as_of=NOW + timedelta(days=2)) == Suppress("stale")


def test_a_sending_whose_lease_ran_out_is_unknown_until_its_owner_cannot_speak_any_more() -> None:
    lease_until = NOW - timedelta(seconds=1)
    assert step(delivery(state=State.SENDING, attempt=1, lease_until=lease_until)) == LoseSight(lease_until + GRACE)


def test_an_unknown_outcome_is_looked_up_where_that_is_possible_even_while_nothing_may_leave() -> None:
    unknown = delivery(state=State.UNKNOWN, attempt=1, cancelled=True)
    assert step(unknown, Rules(kill_switch=True)) == LookUp()


def test_mail_of_unknown_outcome_goes_again_and_is_counted_as_a_doubt() -> None:
    assert step(delivery(state=State.UNKNOWN, attempt=1), settling=Settling.SAME_ID) == Send(1)


def test_mail_of_unknown_outcome_does_not_go_again_once_it_is_cancelled() -> None:
    unknown = delivery(state=State.UNKNOWN, attempt=1, cancelled=True)
    assert step(unknown, settling=Settling.SAME_ID) == Suppress("cancelled", 1)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(UnknownPolicy.PREFER_DUPLICATE, Send(1)), (UnknownPolicy.PREFER_MISS, Fail("outcome_unknown", 1))],
)
def test_a_webhook_of_unknown_outcome_follows_the_policy(policy: UnknownPolicy, expected: NextStep) -> None:
    rules = Rules(mode=Mode.ENABLED, webhook_unknown=policy)
    assert step(delivery(state=State.UNKNOWN, attempt=1), rules, Settling.POLICY) == expected


def test_doubts_end() -> None:
    """A server that accepts and then always hangs up gets the same mail a few times, not all day."""
    unknown = delivery(state=State.UNKNOWN, attempt=9, doubtful=DOUBTFUL_MOST)
    assert step(unknown, settling=Settling.SAME_ID) == Fail("outcome_unknown", DOUBTFUL_MOST + 1)


def test_a_message_that_is_not_there_may_be_sent_again_without_a_doubt() -> None:
    unknown = delivery(state=State.UNKNOWN, attempt=1)
    assert after_look_up(unknown, Absent(), OPEN, now=NOW, as_of=NOW, luck=0.5) == Send(0)


def test_a_message_that_is_not_there_is_not_sent_again_under_the_kill_switch() -> None:
    unknown = delivery(state=State.UNKNOWN, attempt=1)
    stopped = Rules(mode=Mode.ENABLED, kill_switch=True)
    assert after_look_up(unknown, Absent(), stopped, now=NOW, as_of=NOW, luck=0.5) == Suppress("kill_switch")


def test_a_provider_that_cannot_tell_leaves_it_to_the_policy() -> None:
    unknown = delivery(state=State.UNKNOWN, attempt=1)
    miss = Rules(mode=Mode.ENABLED, webhook_unknown=UnknownPolicy.PREFER_MISS)
    finding = CannotTell("missing_scope")
    assert after_look_up(unknown, finding, OPEN, now=NOW, as_of=NOW, luck=0.5) == Send(1)
    assert after_look_up(unknown, finding, miss, now=NOW, as_of=NOW, luck=0.5) == Fail("outcome_unknown", 1)


def test_a_look_up_that_does_not_answer_is_repeated_until_the_delivery_expires() -> None:
    unknown, busy = delivery(state=State.UNKNOWN, attempt=1), Deferred("rate_limited", retry_after_seconds=40)
    assert after_look_up(unknown, busy, OPEN, now=NOW, as_of=NOW, luck=0.5) == Wait(
        NOW + timedelta(seconds=40), Waiting.OUTCOME
    )
    late = NOW + timedelta(days=1)
    assert after_look_up(unknown, busy, OPEN, now=late, as_of=NOW, luck=0.5) == Fail("outcome_unknown", 1)


@settings(deadline=None)
@given(state=st.sampled_from([State.SENT, State.FAILED, State.SUPPRESSED]))
def test_what_is_settled_is_never_due(state: State) -> None:
    with pytest.raises(ValueError, match="never due"):
        step(delivery(state=state))


luck = st.floats(min_value=0, max_value=1, exclude_max=True)


@settings(deadline=None)
@given(failures=st.integers(min_value=0, max_value=10_000), luck=luck)
def test_back_off_has_full_jitter_below_its_ceiling(failures: int, luck: float) -> None:
    delay = retry_delay(failures, luck).total_seconds()
    assert 0 <= delay <= RETRY_MOST_SECONDS
    assert retry_delay(failures, 0).total_seconds() == 0
    assert retry_delay(failures, 0.999).total_seconds() <= retry_delay(failures + 1, 0.999).total_seconds()


@settings(deadline=None)
@given(
    asked=st.floats(min_value=0, max_value=3600),
    failures=st.integers(min_value=0, max_value=100),
    luck=luck,
    whole_channel=st.booleans(),
)
def test_what_the_provider_asks_for_is_never_shortened(
    asked: float, failures: int, luck: float, whole_channel: bool
) -> None:
    outcome = Deferred("rate_limited", whole_channel=whole_channel, retry_after_seconds=asked)
    plan = retry(delivery(attempt=failures), outcome, channel_failures=failures, now=NOW, luck=luck)
    assert plan.until >= NOW + timedelta(seconds=asked)
    if whole_channel:
        assert plan.channel_until == plan.until
        assert plan.until <= NOW + timedelta(seconds=max(asked, LANE_MOST_SECONDS))
    else:
        assert plan.channel_until is None


def test_each_further_doubt_is_given_more_time() -> None:
    margin = timedelta(seconds=15)
    waits = [settled_from(delivery(doubtful=n), now=NOW, margin=margin) - NOW for n in range(6)]
    assert waits == sorted(waits)
    assert waits[0] == margin
    assert waits[-1] <= timedelta(hours=1)


@settings(deadline=None)
@given(
    state=st.sampled_from([State.PENDING, State.UNKNOWN]),
    doubtful=st.integers(min_value=0, max_value=10),
    cancelled=st.booleans(),
    target=st.sampled_from(["#cs", None]),
    rules=st.builds(
        Rules,
        mode=st.sampled_from(Mode),
        kill_switch=st.booleans(),
        webhook_unknown=st.sampled_from(UnknownPolicy),
        on_suppression_list=st.booleans(),
        cap_free_at=st.sampled_from([None, NOW + timedelta(minutes=1)]),
    ),
    settling=st.sampled_from(Settling),
    late=st.booleans(),
    stale=st.booleans(),
)
def test_nothing_is_ever_sent_against_the_rules(
    state: State,
    doubtful: int,
    cancelled: bool,
    target: str | None,
    rules: Rules,
    settling: Settling,
    late: bool,
    stale: bool,
) -> None:
    one = delivery(state=state, attempt=1, doubtful=doubtful, cancelled=cancelled, target=target)
    found = step(
        one,
        rules,
        settling,
        now=NOW + timedelta(days=2 if late else 0),
        as_of=NOW + timedelta(days=2 if stale else 0),
    )
    if isinstance(found, Send):
        assert target is not None
        assert not cancelled
        assert not late
        assert not stale
        assert rules.mode is Mode.ENABLED
        assert not rules.kill_switch
        assert not rules.on_suppression_list
        assert rules.cap_free_at is None
        assert found.doubtful <= DOUBTFUL_MOST
        assert (found.doubtful > doubtful) == (state is State.UNKNOWN)
