"""What each kind of measure sees, computed by hand, and what it says when it sees nothing."""

from __future__ import annotations

from typing import Any

import pytest

from services.health.domain import AccountFacts, Calendar, Line, Occurrence, Presence, score
from tests.unit.health.cases import NOW, RULES, account, active, back, closed, one_measure, ticket, used

AGAINST_PAST = {"kind": "ratio_to_baseline", "full_from": 0.85, "zero_at": 0.5}


def line(facts: AccountFacts, calendar: Calendar = RULES.calendar, **measure: Any) -> Line:
    return score(facts, one_measure(**measure), calendar, NOW).lines[0]


def closed_on(*days_back: int) -> Calendar:
    """A calendar with these days as holidays."""
    holidays = [{"date": back(days).date(), "name": "closed"} for days in days_back]
    return Calendar.model_validate({"zone": "UTC", "holidays": holidays})


class TestAgainstItsOwnPast:
    ACTIVITY: Any = {"input": {"kind": "usage"}, "transform": AGAINST_PAST}  # noqa: RUF012

    def read(self, facts: AccountFacts) -> Line:
        return line(facts, **self.ACTIVITY)

    def test_by_hand(self) -> None:
        # Days 1 to 21: 6 a day. Weeks of days 29 to 84: 56 calls a week, 8 a day, but for one wild week.
        now = [used(days_back, 6) for days_back in range(1, 22)]
        past = [used(days_back, 8) for days_back in range(29, 85) if not 36 <= days_back <= 42]
        wild = [used(40, 5000)]
        read = self.read(account(counts=(*now, *past, *wild), active_days=(active(1),)))
        assert (read.presence, read.raw, read.marks) == (Presence.MEASURED, 0.75, 714)  # 0.25 / 0.35
        assert read.value == "6 actions a day, 75 % of the usual 8"
        assert read.threshold == "full marks from 85 % of usual, none at 50 %"
        assert read.window == "last 21 days against days 29 to 84 back"
        assert read.evidence is not None
        assert (read.evidence.count, read.evidence.first_at, read.evidence.last_at) == (126, back(21, 9), back(1, 17))

    def test_days_between_the_windows_today_and_machines_are_not_seen(self) -> None:
        seen = [used(days_back, 8) for days_back in (*range(1, 22), *range(29, 85))]
        unseen = [used(0, 99), *(used(days_back, 99) for days_back in range(22, 29)), used(85, 99)]
        machines = [used(days_back, 50, "$identify") for days_back in range(1, 22)]
        read = self.read(account(counts=(*seen, *unseen, *machines)))
        assert read.raw == 1

    def test_nothing_now_is_silence_and_counts_as_zero(self) -> None:
        read = self.read(account(counts=tuple(used(days_back, 8) for days_back in range(29, 85))))
        assert (read.presence, read.marks, read.lost) == (Presence.SILENT, 0, 1000)
        assert read.value == "0 actions a day, 0 % of the usual 8"

    def test_whoever_stopped_before_the_baseline_is_still_silent(self) -> None:
        read = self.read(account(active_days=(active(100),)))
        assert (read.presence, read.marks, read.value) == (Presence.SILENT, 0, "none any more")

    def test_whoever_was_never_there_or_is_just_back_is_left_out(self) -> None:
        assert self.read(account()).presence is Presence.NEVER
        back_again = self.read(account(counts=(used(3, 10),), active_days=(active(3),)))
        assert (back_again.presence, back_again.marks) == (Presence.NEVER, None)

    def test_four_whole_weeks_must_be_known(self) -> None:
        counts = tuple(used(days_back, 8) for days_back in range(1, 85))
        young = self.read(account(counts=counts, first_seen_at=back(28 + 27)))
        assert (young.presence, young.value) == (
            Presence.WARMUP,
            "8 actions a day; 3 of 4 weeks known that tell what is usual",
        )
        assert self.read(account(counts=counts, first_seen_at=back(28 + 28))).presence is Presence.MEASURED
        assert self.read(account(first_seen_at=None)).presence is Presence.WARMUP


class TestHolidays:
    """NOW is a Wednesday: 3 and 4, 10 and 11, 17 and 18 days back are weekends."""

    WORKDAYS = [days for days in range(1, 120) if back(days).weekday() < 5]  # noqa: RUF012

    def usual(self, calendar: Calendar, *, on_holidays: int = 0, **known: Any) -> Line:
        """Of an account that uses 10 a day on working days, and ``on_holidays`` on weekdays that are holidays."""
        rows = [used(days, on_holidays if calendar.takes_off(back(days).date()) else 10) for days in self.WORKDAYS]
        facts = account(counts=tuple(rows), active_days=(active(1),), **known)
        return line(facts, calendar, **TestAgainstItsOwnPast.ACTIVITY)

    @pytest.mark.parametrize(
        "days_back",
        [[1], [1, 2, 5, 6], list(range(1, 15)), list(range(1, 22)), list(range(30, 37)), list(range(29, 50)), [40, 47]],
        ids=["yesterday", "four", "two weeks", "three weeks", "a week of the past", "three weeks of it", "single days"],
    )
    @pytest.mark.parametrize("on_holidays", [0, 3, 10])
    def test_a_closure_is_no_decline_and_no_growth(self, days_back: list[int], on_holidays: int) -> None:
        read = self.usual(closed_on(*days_back), on_holidays=on_holidays)
        assert read.raw is not None
        assert 0.95 <= read.raw <= 1.1
        assert read.marks == 1000

    def test_by_hand(self) -> None:
        # Yesterday and the day before were holidays: now reaches back to 23 days, two more working days.
        rows = [*(used(days, 6) for days in self.WORKDAYS if days < 23), *(used(days, 8) for days in self.WORKDAYS)]
        facts = account(counts=tuple(rows), active_days=(active(1),))
        read = line(facts, closed_on(1, 2), **TestAgainstItsOwnPast.ACTIVITY)
        # Of 14 a day 13 working days and the one 22 days back, of 8 that 23 days back; usual is 5 * 8 / 7.
        assert read.raw == round((14 * 14 + 8) / 21 / (40 / 7), 4)

    def test_weeks_that_were_mostly_holidays_are_not_known(self) -> None:
        calendar = closed_on(*range(29, 64))
        assert self.usual(calendar).presence is Presence.WARMUP

    def test_days_since_the_last_time_leave_them_out(self) -> None:
        facts = account(active_days=(active(9),))
        assert line(facts, closed_on(*range(1, 9)), **TestDaysSince.LAST_SEEN).raw == 1
        assert line(facts, closed_on(3, 4), **TestDaysSince.LAST_SEEN).raw == 7, "a weekend is none anyway"


class TestDaysSince:
    LAST_SEEN: Any = {  # noqa: RUF012
        "input": {"kind": "usage"},
        "transform": {"kind": "recency", "full_until_working_days": 3, "zero_from_working_days": 10},
    }

    @pytest.mark.parametrize(
        ("days_back", "worked", "marks", "value"),
        [
            (0, 0, 1000, "last active today"),
            (1, 1, 1000, "last active 1 day ago"),
            (5, 3, 1000, "last active 5 days ago"),  # the Friday before
            (9, 7, 429, "last active 9 days ago"),  # Monday a week before: 3 of 7
            (14, 10, 0, "last active 14 days ago"),
        ],
    )
    def test_working_days_are_counted(self, days_back: int, worked: int, marks: int, value: str) -> None:
        read = line(account(active_days=(active(days_back), active(50))), **self.LAST_SEEN)
        assert (read.raw, read.marks, read.value) == (worked, marks, value)
        assert read.threshold == "full marks up to 3 working days, none from 10 working days"

    def test_never_active_is_left_out(self) -> None:
        assert line(account(), **self.LAST_SEEN).presence is Presence.NEVER

    def test_of_one_event(self) -> None:
        exported = {**self.LAST_SEEN, "input": {"kind": "usage", "events": ["Report Exported"]}}
        facts = account(counts=(used(9, 1, "Report Exported"), used(0)), active_days=(active(0),))
        assert line(facts, **exported).marks == 429
        gone = line(account(counts=(used(0),)), **exported)
        assert (gone.presence, gone.marks, gone.value) == (Presence.MEASURED, 0, "not within 10 working days")


class TestNumbers:
    def test_people_against_seats(self) -> None:
        seats: Any = {
            "input": {"kind": "active_people", "window_days": 28, "per_trait": "seats"},
            "transform": {"kind": "linear", "zero_at": 0.1, "full_from": 0.6},
        }
        read = line(account(active_people={28: 17}, traits={"seats": 50}), **seats)
        assert (read.raw, read.marks) == (0.34, 480)
        assert read.value == "17 people for 50 seats (34 %)"
        assert (read.threshold, read.window) == ("full marks from 60 %, none at 10 %", "last 28 days")
        for unreadable in (
            {},
            {"seats": 0},
            {"seats": -1},
            {"seats": "many"},
            {"seats": True},
            {"seats": "NaN"},
            {"seats": "1e-308"},
            {"seats": 1e300},
        ):
            read = line(account(active_people={28: 17}, traits=unreadable), **seats)
            assert (read.presence, read.value) == (Presence.NOT_APPLICABLE, "17 people; seats is not known")
        assert line(account(active_people={28: 17}, traits={"seats": "1,000"}), **seats).raw == 0.017

    def test_people_as_they_are(self) -> None:
        read = line(
            account(active_people={7: 3}),
            input={"kind": "active_people", "window_days": 7},
            transform={"kind": "linear", "zero_at": 0, "full_from": 4},
        )
        assert (read.marks, read.value, read.threshold) == (750, "3 people", "full marks from 4, none at 0")

    def test_features(self) -> None:
        facts = account(
            counts=(used(1, 9, "Report Created"), used(2, 1, "Report Exported"), used(2, 1), used(1, 1, "$group"))
        )
        scale = {"kind": "linear", "zero_at": 0, "full_from": 4}
        any_feature = line(facts, input={"kind": "features_used", "window_days": 28}, transform=scale)
        assert (any_feature.marks, any_feature.value) == (750, "3 features used")
        listed = line(
            facts,
            input={"kind": "features_used", "window_days": 28, "features": ["Report Exported", "Report Shared"]},
            transform=scale,
        )
        assert (listed.marks, listed.value) == (250, "1 of 2 features used")

    def test_calls_in_a_window(self) -> None:
        facts = account(counts=(used(0, 5), used(1, 3), used(7, 2), used(8, 9)))
        read = line(
            facts,
            input={"kind": "usage", "window_days": 7},
            transform={
                "kind": "bands",
                "steps": [
                    {"below": 5, "marks": 0},
                    {"at_least": 5, "below": 50, "marks": 60},
                    {"at_least": 50, "marks": 100},
                ],
            },
        )
        assert (read.raw, read.marks, read.value) == (5, 600, "5 actions")
        assert read.threshold == "none below 5, 60 of 100 marks from 5 below 50, full marks from 50"

    def test_a_young_account_is_not_measured_yet(self) -> None:
        measure: Any = {
            "warmup_days": 28,
            "input": {"kind": "features_used", "window_days": 28},
            "transform": {"kind": "linear", "zero_at": 0, "full_from": 4},
        }
        young = line(account(first_seen_at=back(27)), **measure)
        assert (young.presence, young.marks, young.weight) == (Presence.WARMUP, None, 0)
        assert young.value == "0 features used; counted once the account is 28 days old"
        assert line(account(first_seen_at=back(28)), **measure).presence is Presence.MEASURED


class TestOpenCases:
    URGENT: Any = {  # noqa: RUF012
        "input": {
            "kind": "open_cases",
            "opened": {"event": "Ticket Opened", "where": {"priority": ["urgent"]}},
            "closed_by": "Ticket Closed",
            "matched_by": "ticket_id",
            "window_days": 30,
        },
        "transform": {"kind": "linear", "zero_at": 10, "full_from": 0},
    }

    def count(self, *occurrences: Occurrence, **changed: Any) -> float | None:
        measure = {**self.URGENT, "input": {**self.URGENT["input"], **changed}}
        forth = line(account(occurrences=occurrences), **measure)
        assert forth == line(account(occurrences=occurrences[::-1]), **measure), "order carries no meaning"
        return forth.raw

    def test_open_until_closed(self) -> None:
        assert self.count() == 0
        assert self.count(ticket("1", 3), ticket("2", 2)) == 2
        assert self.count(ticket("1", 3), ticket("2", 2), closed("1", 1)) == 1
        assert self.count(ticket("1", 3), closed("2", 1)) == 1

    def test_a_ticket_may_be_said_twice_and_opened_again(self) -> None:
        assert self.count(ticket("1", 3), ticket("1", 2)) == 1
        assert self.count(ticket("1", 3), closed("1", 2), ticket("1", 1)) == 1
        assert self.count(ticket("1", 3), closed("1", 3)) == 0, "closed in the same moment is closed"

    def test_only_what_is_asked_for(self) -> None:
        assert self.count(ticket("1", 3, "low"), ticket("2", 3, " URGENT ")) == 1
        assert self.count(Occurrence("Ticket Opened", back(1), "m-1")) == 0

    def test_the_window_holds_today(self) -> None:
        assert self.count(ticket("1", 0), ticket("2", 29), ticket("3", 30)) == 2

    def test_cases_without_a_name_cannot_be_closed_and_count_each(self) -> None:
        unnamed = [Occurrence("Ticket Opened", back(n), f"m-{n}", {"priority": "urgent"}) for n in (1, 2)]
        assert self.count(*unnamed) == 2
        assert self.count(*unnamed, Occurrence("Ticket Closed", back(0), "m-0")) == 0, "nor can it be said which"

    def test_without_matching_any_closing_closes_all_before(self) -> None:
        failed = [Occurrence("Payment Failed", back(n), f"m-{n}") for n in (9, 5, 1)]
        paid = Occurrence("Payment Succeeded", back(3), "p")
        payments: Any = {"opened": {"event": "Payment Failed"}, "closed_by": "Payment Succeeded", "matched_by": None}
        assert self.count(*failed, paid, **payments) == 1
        assert self.count(*failed, paid, **{**payments, "closed_by": None}) == 3

    def test_evidence_names_the_events(self) -> None:
        read = line(account(occurrences=(ticket("1", 3), ticket("2", 2), ticket("3", 1))), **self.URGENT)
        assert read.value == "3 open"
        assert read.window == "opened in the last 30 days, today included"
        assert read.threshold == "full marks up to 0, none from 10"
        assert read.evidence is not None
        assert (read.evidence.first_id, read.evidence.last_id) == ("opened-1-3-10", "opened-3-1-10")
