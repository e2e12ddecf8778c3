"""From HTTP to Slack: how long it takes, and what it costs, with everything at work at once.

A steady load over all accounts; among it urgent tickets, each of which must lead to one message in Slack, and tickets
of high priority, each of which lowers a score and tells nobody. From the answer 200 to the commit of the lower score,
as PostgreSQL noted it, and to the moment at which the double of Slack took the message.

Slack takes one message a second of each channel, and so notify sends no more. So alerts go round three channels, and
each channel has one every two seconds: none waits for the one before it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from bench.figures import Measured, NotMeasured
from bench.installation import Alert, Installation, installation
from bench.percentiles import latencies
from bench.sizes import Size
from bench.stage import Cost, stage
from bench.traffic import TIERS, Product, account_ids, product
from libs.common.testing import eventually

SECONDS_BETWEEN_ALERTS_OF_A_CHANNEL = 2.0
ALERTS_PER_S = len(TIERS) / SECONDS_BETWEEN_ALERTS_OF_A_CHANNEL
QUIET_TICKETS_PER_S = 3.0
WARM_SECONDS = 3.0
"""Of load before the first ticket, so that what is measured is at work already."""
INTRODUCED_SECONDS = DRAINED_SECONDS = 300.0
TOLD_SECONDS = 60.0


async def run(stage_engine: str, size: Size) -> Measured:
    async with (
        stage(stage_engine, commit_times=True) as at,
        installation(at) as here,
        product(here.url("ingest"), at.keys.write_key, account_ids(size.end_to_end_accounts)) as customer,
    ):
        await customer.introduce()
        await here.until_scored(customer.accepted, INTRODUCED_SECONDS)
        introduced, before = customer.accepted, at.costs()
        urgent, quiet = who_has_tickets(customer.accounts, size.end_to_end_seconds)
        await _under_load(customer, size, urgent, quiet)
        working = at.costs()
        await here.until_applied(customer.accepted, DRAINED_SECONDS)
        events = customer.accepted - introduced
        costs = {name: cost - before[name] for name, cost in at.costs().items()}
        told = await _told(here, urgent)
        return {
            **await _latencies(here, customer, told),
            "accepted_to_slack_alerts_count": len(told),
            **_cpu(costs, events),
            **_memory(working),
        }


async def _under_load(customer: Product, size: Size, urgent: Sequence[str], quiet: Sequence[str]) -> None:
    async with asyncio.TaskGroup() as group:
        seconds = WARM_SECONDS + size.end_to_end_seconds
        group.create_task(customer.work(size.end_to_end_events_per_s, seconds))
        await asyncio.sleep(WARM_SECONDS)
        group.create_task(customer.open_tickets(urgent, "urgent", ALERTS_PER_S))
        group.create_task(customer.open_tickets(quiet, "high", QUIET_TICKETS_PER_S))


def who_has_tickets(accounts: Sequence[str], seconds: float) -> tuple[list[str], list[str]]:
    """Urgent ones and ones of high priority: each account at most one. The urgent ones go round the tiers."""
    each = round(seconds / SECONDS_BETWEEN_ALERTS_OF_A_CHANNEL)
    mixed = random.Random(2).sample(range(len(accounts)), len(accounts))  # noqa: S311 - no secret
    of_tier = [[n for n in mixed if n % len(TIERS) == tier] for tier in range(len(TIERS))]
    urgent = [accounts[one] for round_ in zip(*(numbers[:each] for numbers in of_tier), strict=True) for one in round_]
    rest = [accounts[n] for numbers in of_tier for n in numbers[each:]]
    return urgent, rest[: round(seconds * QUIET_TICKETS_PER_S)]


async def _told(here: Installation, urgent: Sequence[str]) -> Mapping[str, Alert]:
    """By account. Raises NotMeasured unless Slack has one message for each account with an urgent ticket, and no
    other."""

    async def all_told() -> bool:
        return bool(await here.ask("SELECT count(settled_at) >= $1 FROM notify.delivery", len(urgent)))

    try:
        await eventually(all_told, within_seconds=TOLD_SECONDS, what="every alert is told")
    except AssertionError as exc:
        raise NotMeasured(f"not all of {len(urgent)} alerts were told: {exc}") from exc
    alerts = await here.alerts()
    if sorted(alert.account for alert in alerts) != sorted(urgent):
        raise NotMeasured(f"Slack has {len(alerts)} messages for {len(urgent)} urgent tickets, or of other accounts")
    return {alert.account: alert for alert in alerts}


async def _latencies(here: Installation, customer: Product, told: Mapping[str, Alert]) -> Measured:
    accepted, read, lowered = customer.ticketed, await here.read_at(), await here.lowered_at()
    if lowered.keys() != accepted.keys():
        raise NotMeasured(f"{len(accepted)} accounts had a ticket, and {len(lowered)} have a lower score")
    return {
        **latencies("accepted_to_scored", (lowered[account] - at for account, at in accepted.items())),
        **latencies("accepted_to_slack", (alert.slack_at - accepted[account] for account, alert in told.items())),
        # Where the time goes.
        **latencies("accepted_to_read", (read[account] - at for account, at in accepted.items())),
        **latencies("read_to_scored", (at - read[account] for account, at in lowered.items())),
        **latencies("scored_to_ledger", (alert.in_ledger_at - lowered[account] for account, alert in told.items())),
        **latencies("ledger_to_slack", (alert.slack_at - alert.in_ledger_at for alert in told.values())),
    }


def _cpu(costs: Mapping[str, Cost], events: int) -> Measured:
    return {
        f"end_to_end_{name}_cpu_s_per_million": cost.cpu_seconds / events * 1_000_000
        for name, cost in costs.items()
        if name != "inbox"
    }


def _memory(costs: Mapping[str, Cost]) -> Measured:
    """Of what an installation consists of; the inbox stands for Slack and a mail server, which are elsewhere."""
    resident = {name: cost.rss_mb for name, cost in costs.items() if name != "inbox"}
    return {
        **{f"end_to_end_{name}_rss_mb": megabytes for name, megabytes in resident.items()},
        "rss_mb_total": sum(resident.values()),
    }
