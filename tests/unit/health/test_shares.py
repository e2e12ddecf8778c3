"""Each cause is sure of its share of a round; what it does not need goes to the others."""

from services.health.score_worker import ROUND, SHARES, Cause, deal
from services.health.store.schedule import AccountKey


def _accounts(prefix: str, count: int) -> list[AccountKey]:
    return [AccountKey(1, f"{prefix}{n}") for n in range(count)]


def _waiting(urgent: int = 0, news: int = 0, time: int = 0, imports: int = 0) -> dict[Cause, list[AccountKey]]:
    return {
        Cause.URGENT: _accounts("u", urgent),
        Cause.NEWS: _accounts("n", news),
        Cause.TIME: _accounts("t", time),
        Cause.IMPORT: _accounts("i", imports),
    }


def _dealt(waiting: dict[Cause, list[AccountKey]]) -> dict[Cause, int]:
    dealt = [candidate.cause for candidate in deal(waiting)]
    return {cause: dealt.count(cause) for cause in Cause}


def test_under_pressure_everybody_gets_their_share() -> None:
    assert _dealt(_waiting(100, 100, 100, 100)) == SHARES


def test_what_one_does_not_need_goes_to_the_next() -> None:
    assert _dealt(_waiting(urgent=2, news=3, time=100, imports=100)) == {
        Cause.URGENT: 2,
        Cause.NEWS: 3,
        Cause.TIME: ROUND - 5 - SHARES[Cause.IMPORT],
        Cause.IMPORT: SHARES[Cause.IMPORT],
    }


def test_an_account_with_two_causes_is_dealt_once_and_as_news() -> None:
    account = AccountKey(1, "acme")
    candidates = deal({Cause.NEWS: [account], Cause.TIME: [account, account], Cause.IMPORT: [account]})
    assert [(one.cause, one.key) for one in candidates] == [(Cause.NEWS, account)]
