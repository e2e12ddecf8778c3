"""The projection of an account is a function of the set of its snapshots."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import AccountChanged, Band
from services.playbook.domain.accounts import Account
from tests.unit.playbook.examples import snapshot

snapshots = st.builds(
    lambda version, seed: snapshot(
        version,
        # What a version says follows from its number: health never says two things under one version.
        band=[None, *Band][(version * seed) % 4],
        silent=[None, True, False][(version + seed) % 3],
        name=f"name {version}",
    ),
    st.integers(1, 30),
    st.just(7),
)


def _all(events: list[AccountChanged]) -> Account:
    return reduce(Account.merged, map(Account.seen, events))


@given(st.lists(snapshots, min_size=1), st.data())
def test_order_duplicates_and_batch_borders_do_not_matter(events: list[AccountChanged], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(events)))
    shuffled = data.draw(st.permutations(events + again))
    border = data.draw(st.integers(1, len(shuffled)))
    batches = [batch for batch in (shuffled[:border], shuffled[border:]) if batch]
    assert reduce(Account.merged, [_all(batch) for batch in batches]) == _all(events)


def test_the_highest_version_wins_and_having_been_green_is_remembered() -> None:
    account = _all([snapshot(3, band=Band.RED), snapshot(2, band=Band.GREEN), snapshot(1, silent=False)])
    assert (account.snapshot.version, account.last_green_version, account.last_active_version) == (3, 2, 1)
