"""What playbook does when something has happened: load, decide, save, and return the events that follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from libs.common.clock import Clock
from libs.common.consumer import Handling, handles
from libs.common.db import AsyncConnection
from libs.common.events import (
    AccountChanged,
    AccountWentSilent,
    Event,
    HealthBandChanged,
    TouchDelivered,
    TouchFailed,
    TouchSuppressed,
)
from libs.common.observability import REGISTRY, Counter
from services.playbook.definitions import Catalogue
from services.playbook.domain import timeline
from services.playbook.domain.accounts import Account
from services.playbook.domain.choose import on_finding, on_snapshot
from services.playbook.domain.runs import (
    Decision,
    Ended,
    Finding,
    NotStarted,
    NotStartedReason,
    Run,
    Started,
    Waits,
    WaitsNoMore,
)
from services.playbook.domain.touches import Result, settlements
from services.playbook.store import accounts, runs, touches
from services.playbook.store.keys import Key, key_of
from services.playbook.store.situations import load_situations
from services.playbook.store.timeline import add_entries

_decided = Counter("kizashi_playbook_decisions_total", "Decisions", ["playbook", "decision"], registry=REGISTRY)


class Handlers:
    """``clock`` gives the domain time at which decisions are made."""

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._playbooks = [playbook.name for playbook in catalogue.playbooks]
        self._clock = clock

    async def on_account_changeds(self, connection: AsyncConnection, events: list[AccountChanged]) -> list[Event]:
        """The projection first; then runs that are not needed any more, and findings that waited for a snapshot."""
        seen: dict[Key, Account] = {}
        for event in events:
            account, key = Account.seen(event), key_of(event)
            seen[key] = seen[key].merged(account) if key in seen else account
        await accounts.merge_accounts(connection, seen.values())
        as_of = self._clock.now()
        decisions: list[Decision] = []
        for situation in (await load_situations(connection, seen, self._playbooks)).values():
            decisions += on_snapshot(self._catalogue, situation, as_of)
        return await self._carry_out(connection, decisions, as_of)

    async def on_account_went_silents(
        self, connection: AsyncConnection, events: list[AccountWentSilent]
    ) -> list[Event]:
        return await self._on_findings(connection, events)

    async def on_health_band_changeds(
        self, connection: AsyncConnection, events: list[HealthBandChanged]
    ) -> list[Event]:
        return await self._on_findings(connection, events)

    async def on_touch_delivereds(self, connection: AsyncConnection, events: list[TouchDelivered]) -> list[Event]:
        return await self._on_results(connection, events)

    async def on_touch_faileds(self, connection: AsyncConnection, events: list[TouchFailed]) -> list[Event]:
        return await self._on_results(connection, events)

    async def on_touch_suppresseds(self, connection: AsyncConnection, events: list[TouchSuppressed]) -> list[Event]:
        return await self._on_results(connection, events)

    async def _on_findings(self, connection: AsyncConnection, findings: Sequence[Finding]) -> list[Event]:
        await add_entries(connection, [timeline.of_finding(finding) for finding in findings])
        as_of = self._clock.now()
        situations = await load_situations(connection, {key_of(finding) for finding in findings}, self._playbooks)
        decisions: list[Decision] = []
        for finding in findings:
            for decision in on_finding(self._catalogue, situations[key_of(finding)], finding, as_of):
                situations[key_of(finding)] = situations[key_of(finding)].after(decision)
                decisions.append(decision)
        return await self._carry_out(connection, decisions, as_of)

    async def _carry_out(
        self, connection: AsyncConnection, decisions: Sequence[Decision], as_of: datetime
    ) -> list[Event]:
        """Store decisions in the order in which they were made. Runs end before others start, since one account has
        one open run of a playbook; a run that started and ended among them is stored as ended."""
        ended = {decision.run.run_id: decision for decision in decisions if isinstance(decision, Ended)}
        started = {decision.run.run_id: decision.run for decision in decisions if isinstance(decision, Started)}
        before = {run_id: end for run_id, end in ended.items() if run_id not in started}
        cancelled = []
        if before:
            await runs.save_runs(connection, [end.run for end in before.values()])
            cancelled = await touches.cancel_unsent(connection, before)
        refused: dict[str, Run] = {}
        if started:
            new = [ended[run_id].run if run_id in ended else run for run_id, run in started.items()]
            stored = await runs.insert_runs(connection, new)
            refused = {run_id: run for run_id, run in started.items() if run_id not in stored}
        if waits := [decision.finding for decision in decisions if isinstance(decision, Waits)]:
            await accounts.keep_waiting(connection, waits)
        if decided := [decision.finding for decision in decisions if isinstance(decision, WaitsNoMore)]:
            await accounts.stop_waiting(connection, decided)
        made = [decision for decision in (_as_stored(decision, refused) for decision in decisions) if decision]
        entries = [entry for decision in made if (entry := timeline.of_decision(decision, as_of))]
        entries += [timeline.of_cancelled(event, as_of) for event in cancelled]
        if entries:
            await add_entries(connection, entries)
        for decision in made:
            _count(decision)
        return list(cancelled)

    async def _on_results(self, connection: AsyncConnection, results: Sequence[Result]) -> list[Event]:
        await touches.settle(connection, settlements(results))
        await add_entries(connection, [timeline.of_result(result) for result in results])
        return []


def handlings(on: Handlers) -> list[Handling[Any]]:
    """In the order in which the events of a batch are taken. The projection comes first. Silence comes before a band
    that changed beside it: it says more, and its playbook excludes the other."""
    return [
        handles(AccountChanged, on.on_account_changeds),
        handles(AccountWentSilent, on.on_account_went_silents),
        handles(HealthBandChanged, on.on_health_band_changeds),
        handles(TouchDelivered, on.on_touch_delivereds),
        handles(TouchFailed, on.on_touch_faileds),
        handles(TouchSuppressed, on.on_touch_suppresseds),
    ]


def _as_stored(decision: Decision, refused: dict[str, Run]) -> Decision | None:
    """What became of a decision whose run the database did not take: somebody else had started it in the meantime."""
    match decision:
        case Started(run) if run.run_id in refused:
            words = "somebody else started it at the same moment, so nobody is told again"
            return NotStarted(run.playbook, run.finding, NotStartedReason.OPEN_RUN, words)
        case Ended(run) if run.run_id in refused:
            return None
        case _:
            return decision


def _count(decision: Decision) -> None:
    match decision:
        case Started(run):
            _decided.labels(run.playbook.name, "started").inc()
        case Ended(run):
            _decided.labels(run.playbook.name, str(run.outcome)).inc()
        case NotStarted(playbook, reason=reason):
            _decided.labels(playbook.name, f"not_started:{reason}").inc()
        case Waits() | WaitsNoMore():
            pass
