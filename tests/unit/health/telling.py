"""The demo's story told by the rules: every account judged whenever something is heard and when its moment comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from deploy.local.demo.customers import Customer
from deploy.local.demo.world import HISTORY, STORY, ProductEvent, World
from libs.common.events import Band
from services.health.domain import Assessment, Occurrence, Rulebook, Standing, assess
from tests.unit.health.gather import Ledger, Use

HEARD_TOGETHER = timedelta(hours=2)


@dataclass
class Told:
    """What happened to one account after ``baseline``. Numbers are days of the story; points are tenths."""

    baseline: Assessment
    bands: list[tuple[int, Band]] = field(default_factory=list)
    silent_on: list[int] = field(default_factory=list)
    lost_at: dict[datetime, int] = field(default_factory=dict)
    """By how much the score fell when something was heard."""


def tell(world: World, customer: Customer, happened: list[ProductEvent], rules: Rulebook) -> Told:
    """``happened`` is all that ``customer`` did in history and story, in order."""
    ledger = Ledger(
        customer.account_id, {"plan": customer.plan, "arr": customer.arr, "seats": customer.seats}, rules.model
    )
    _hear(ledger, [event for event in happened if event.at < world.begins], rules)
    last = assess(ledger.facts(world.begins), Standing(), rules, world.begins)
    told = Told(baseline=last)
    for heard_at, news in _news(world, happened):
        while last.next_moment < heard_at:
            last = _judge(world, ledger, last, rules, last.next_moment, told)
        _hear(ledger, news, rules)
        last = _judge(world, ledger, last, rules, heard_at, told)
    return told


def _hear(ledger: Ledger, news: list[ProductEvent], rules: Rulebook) -> None:
    ledger.add(Use(event.user_id, event.counted_as, event.at) for event in news)
    for event in news:
        if event.name in rules.model.kept_properties:
            ledger.occurred(Occurrence(event.name, event.at, event.id, event.fields))


def _news(world: World, happened: list[ProductEvent]) -> Iterator[tuple[datetime, list[ProductEvent]]]:
    """What is heard together, and when; tickets alone, so that it shows what they cost; at the end nothing."""
    together: list[ProductEvent] = []
    for event in happened:
        if event.at < world.begins:
            continue
        alone = event.name.startswith("Ticket")
        if together and (alone or event.at - together[0].at > HEARD_TOGETHER or together[-1].name.startswith("Ticket")):
            yield together[-1].at, together
            together = []
        together.append(event)
    if together:
        yield together[-1].at, together
    yield world.begins + STORY, []


def _judge(world: World, ledger: Ledger, last: Assessment, rules: Rulebook, as_of: datetime, told: Told) -> Assessment:
    now = assess(ledger.facts(as_of), last.standing, rules, as_of)
    day = (as_of - world.begins).days
    if now.band_changed and now.band is not None:
        told.bands.append((day, now.band))
    if now.went_silent:
        told.silent_on.append(day)
    if now.scorecard.score is not None and last.scorecard.score is not None:
        told.lost_at[as_of] = last.scorecard.score - now.scorecard.score
    return now


def everything(world: World) -> dict[str, list[ProductEvent]]:
    """All that happens in history and story, by account."""
    accounts: dict[str, list[ProductEvent]] = {}
    for event in world.between(world.begins - HISTORY, world.begins + STORY):
        accounts.setdefault(event.account_id, []).append(event)
    return accounts
