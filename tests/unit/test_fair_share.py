"""Shares of a consumer group's members: complete, even per topic and even in total."""

from hypothesis import given
from hypothesis import strategies as st

from libs.common.ownership import fair_share


@given(members=st.integers(1, 40), topics=st.integers(1, 6), partitions=st.integers(1, 24))
def test_shares_are_complete_and_even(members: int, topics: int, partitions: int) -> None:
    shares = [fair_share(rank, members, topics, partitions) for rank in range(members)]
    for topic in range(topics):
        of_topic = [share[topic] for share in shares]
        assert sum(of_topic) == partitions
        assert max(of_topic) - min(of_topic) <= 1
    totals = [sum(share) for share in shares]
    assert max(totals) - min(totals) <= 1
