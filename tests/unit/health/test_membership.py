from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.health.domain import Call, attribute, day_of, in_force, person_behind
from services.health.domain.membership import PEOPLE_PER_ID, adds_nothing, stands_for_nobody
from tests.unit.health.cases import TODAY, back, properly


@dataclass(frozen=True)
class Row:
    user: str
    day: date
    account: str | None = None


@dataclass(frozen=True)
class Single:
    """One call as it was made, before a day's calls become rows."""

    by: str
    target: str
    at: datetime


def rolled_up(singles: list[Single]) -> dict[str, list[Call]]:
    """One row per caller, day and target: what a store keeps, by minimum and maximum."""
    rows: dict[str, dict[tuple[date, str], Call]] = defaultdict(dict)
    for one in singles:
        key = (day_of(one.at), one.target)
        row = rows[one.by].get(key, Call(*key, one.at, one.at))
        rows[one.by][key] = Call(*key, min(row.first_at, one.at), max(row.last_at, one.at))
    return {by: list(made.values()) for by, made in rows.items()}


def one_by_one(singles: list[Single]) -> dict[str, list[Call]]:
    """A row for every call, repeated or not."""
    rows: dict[str, list[Call]] = defaultdict(list)
    for one in singles:
        rows[one.by].append(Call(day_of(one.at), one.target, one.at, one.at))
    return rows


def call(target: str, days_back: int, first_hour: int = 9, last_hour: int = 9) -> Call:
    return Call(TODAY - timedelta(days=days_back), target, back(days_back, first_hour), back(days_back, last_hour))


def day(days_back: int) -> date:
    return TODAY - timedelta(days=days_back)


class TestInForce:
    def test_without_calls_nobody_knows(self) -> None:
        assert in_force([], TODAY) is None

    def test_the_last_call_on_or_before_the_day(self) -> None:
        calls = [call("old", 10), call("new", 5)]
        assert [in_force(calls, day(back)) for back in (10, 7, 6, 5, 0)] == ["old", "old", "old", "new", "new"]

    def test_before_the_first_call_the_earliest_one(self) -> None:
        assert in_force([call("later", 3), call("earlier", 5)], day(20)) == "earlier"

    def test_within_a_day_the_last_wins_and_the_day_before_gets_the_first(self) -> None:
        moved = [call("morning", 5, 8, 9), call("evening", 5, 17, 18)]
        assert in_force(moved, day(5)) == "evening"
        assert in_force(moved, day(6)) == "morning"

    def test_of_two_calls_at_one_moment_the_greater_name_is_the_later(self) -> None:
        assert in_force([call("a", 5), call("b", 5)], day(5)) == "b"
        assert in_force([call("a", 5), call("b", 5)], day(6)) == "a"


class TestPersonBehind:
    def test_nobody_linked(self) -> None:
        assert person_behind("alice", {}, TODAY) == "alice"

    def test_a_shared_browser_belongs_to_whoever_signed_in(self) -> None:
        links = {"browser": [call("alice", 10), call("bob", 4)]}
        assert [person_behind("browser", links, day(back)) for back in (20, 10, 5, 4)] == [
            "alice",
            "alice",
            "alice",
            "bob",
        ]

    def test_links_are_followed_to_their_end(self) -> None:
        links = {"browser": [call("alice", 9)], "alice": [call("alice@aoi.example", 3)]}
        assert person_behind("browser", links, TODAY) == "alice@aoi.example"

    def test_a_circle_is_one_person(self) -> None:
        links = {"x": [call("c", 9)], "a": [call("b", 9)], "b": [call("c", 9)], "c": [call("a", 9)]}
        assert {person_behind(name, links, TODAY) for name in "xabc"} == {"a"}


class TestAttribute:
    def test_the_account_that_the_event_names_wins(self) -> None:
        rows = [Row("alice", day(1), "named"), Row("alice", day(1)), Row("nobody", day(1))]
        assert attribute(rows, {"alice": [call("hers", 5)]}, {}) == ["named", "hers", None]

    def test_calls_made_while_anonymous_count_for_the_person(self) -> None:
        links = {"browser": [call("alice", 5)]}
        calls = {"browser": [call("aoi", 5)]}
        rows = [Row("alice", day(0)), Row("browser", day(8)), Row("bob", day(0))]
        assert attribute(rows, calls, links) == ["aoi", "aoi", None]

    def test_usage_of_a_shared_browser_goes_to_each_ones_account(self) -> None:
        links = {"browser": [call("alice", 10), call("bob", 4)]}
        calls = {"alice": [call("aoi", 10)], "bob": [call("sora", 20)]}
        assert attribute([Row("browser", day(6)), Row("browser", day(4))], calls, links) == ["aoi", "sora"]


_names = st.sampled_from(["alice", "bob", "browser"])
_singles = st.lists(
    st.builds(
        lambda by, target, days_back, hour: Single(by, target, back(days_back, hour)),
        _names,
        st.sampled_from(["aoi", "sora", "umi"]),
        st.integers(0, 6),
        st.integers(0, 3),
    ),
    max_size=12,
)
_links = st.lists(
    st.builds(
        lambda by, target, days_back: Single(by, target, back(days_back)),
        _names,
        _names,
        st.integers(0, 6),
    ),
    max_size=5,
)
_rows = st.lists(
    st.builds(
        lambda user, days_back, named: Row(user, day(days_back), named),
        _names,
        st.integers(0, 8),
        st.none() | st.just("umi"),
    ),
    max_size=8,
)


@given(_singles, _links, _rows, st.randoms(use_true_random=False))
@properly
def test_order_repetition_and_grouping_of_calls_do_not_matter(
    singles: list[Single], links: list[Single], rows: list[Row], dice: random.Random
) -> None:
    repeated = singles + dice.choices(singles, k=4) if singles else []
    dice.shuffle(repeated)
    relinked = links + dice.choices(links, k=2) if links else []
    dice.shuffle(relinked)
    assert attribute(rows, rolled_up(singles), rolled_up(links)) == attribute(
        rows, one_by_one(repeated), one_by_one(relinked)
    )


@given(_singles, st.sampled_from(["aoi", "sora", "umi"]), st.integers(0, 6), st.integers(0, 3))
@properly
def test_a_call_that_adds_nothing_changes_no_answer(
    singles: list[Single], target: str, days_back: int, hour: int
) -> None:
    before = rolled_up([Single("alice", one.target, one.at) for one in singles]).get("alice", [])
    after = [*before, Call(day(days_back), target, back(days_back, hour), back(days_back, hour))]
    if adds_nothing(before, day(days_back), target):
        for other in range(9):
            assert in_force(after, day(other)) == in_force(before, day(other))


def test_an_id_of_many_people_stands_for_nobody() -> None:
    """A kiosk, or a constant in somebody's code."""
    links = [call(f"person-{n}", n) for n in range(PEOPLE_PER_ID)]
    assert not stands_for_nobody([*links, *links])
    assert stands_for_nobody([*links, call("one more", 1)])
