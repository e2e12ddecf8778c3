"""Gathers what the judge needs: from the world what was sent, from the services' APIs and the inbox what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploy.local.demo.asking import Asking
from deploy.local.demo.customers import CUSTOMERS, Story, the_one_that
from deploy.local.demo.progress import Progress
from deploy.local.demo.verdict import Cell, Observed, Sighting
from deploy.local.demo.world import World


async def told_so_far(asking: Asking) -> int:
    """Runs, deliveries and messages, whatever became of them."""
    everything = await asking.runs(), await asking.deliveries(), await asking.slack(), await asking.mails()
    return sum(len(some) for some in everything)


async def gather_evidence(
    asking: Asking,
    sent: Progress,
    *,
    sightings: Sequence[Sighting],
    told_by_history: int,
    log: str,
) -> Observed:
    """``sent`` is how far the product had got; it should have stopped, or the counts are of another moment. ``log``
    names the event log's engine."""
    world, progress = World(sent.begins, sent.seed), await asking.progress()
    happened = world.between(world.history_begins, sent.sent_until)
    counted: Counter[Cell] = Counter()
    for customer in CUSTOMERS:
        counted += await asking.usage(customer.account_id)
    declining = the_one_that(Story.DECLINES).account_id
    return Observed(
        events_sent=sent.events_sent,
        usage_total=progress["usage_total"],
        unassigned=progress["usage_unassigned"],
        expected=Counter((event.account_id, event.at.date(), event.counted_as) for event in happened),
        counted=counted,
        told_by_history=told_by_history,
        deliveries=[told.delivery for told in await asking.deliveries()],
        slack=await asking.slack(),
        mails=await asking.mails(),
        sightings=sightings,
        last_activity={event.account_id: event.at for event in happened},
        reasons=[line["title"] for line in await asking.lines(declining) if line["lost"] > 0],
        ticket_at=world.ticket_opened_at,
        log=log,
    )
