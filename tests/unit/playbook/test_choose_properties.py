"""What holds for every history of an account, in whatever order and however often its events arrive."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import AccountChanged, Band, Channel, Tier, TouchRequested
from services.playbook.definitions import Catalogue
from services.playbook.domain.accounts import Account
from services.playbook.domain.choose import on_finding, on_snapshot
from services.playbook.domain.runs import Decision, Ended, Finding, Run, Situation, Started
from services.playbook.domain.steps import advance
from tests.unit.playbook.examples import NOW, TIERS, band_changed, catalogue, snapshot, usage_decline, went_silent


@dataclass(frozen=True)
class StepsDue:
    """The step worker turns."""


Event = AccountChanged | Finding | StepsDue


@dataclass
class Memory:
    """One account, decided about event by event, as the handlers do it."""

    playbooks: Catalogue = field(default_factory=catalogue)
    situation: Situation = field(default_factory=Situation)
    told: list[tuple[Run, TouchRequested]] = field(default_factory=list)

    def take(self, event: Event, as_of: datetime = NOW) -> list[Decision]:
        decisions: list[Decision]
        if isinstance(event, StepsDue):
            decisions = self._do_steps(as_of)
        elif isinstance(event, AccountChanged):
            seen = Account.seen(event)
            account = self.situation.account.merged(seen) if self.situation.account else seen
            self.situation = replace(self.situation, account=account)
            decisions = on_snapshot(self.playbooks, self.situation, as_of)
        else:
            decisions = on_finding(self.playbooks, self.situation, event, as_of)
        for decision in decisions:
            self.situation = self.situation.after(decision)
        return decisions

    def _do_steps(self, as_of: datetime) -> list[Decision]:
        """One step of each open run, as the step worker does it."""
        decisions: list[Decision] = []
        for run in self.situation.open_runs:
            assert self.situation.account is not None
            snapshot, tiers = self.situation.account.snapshot, self.playbooks.tiers
            progress = advance(run, snapshot, tiers, as_of=as_of, step_due_really_at=as_of)
            self.told += [(run, touch) for touch in progress.touches]
            still_open = (progress.run if other is run else other for other in self.situation.open_runs)
            self.situation = replace(self.situation, open_runs=tuple(still_open))
            decisions += [progress.ended] if progress.ended else []
            decisions += [Started(progress.successor)] if progress.successor else []
        return decisions

    @property
    def open(self) -> list[str]:
        return sorted(run.run_id for run in self.situation.open_runs)


versions = st.integers(1, 12)
bands = st.sampled_from([None, *Band])
events = st.one_of(
    st.just(StepsDue()),
    # What a version says follows from its number: health never says two things under one version.
    st.builds(
        lambda version: snapshot(
            version,
            band=[None, *Band][version * 7 % 4],
            silent=[None, True, False][version % 3],
            stage="churned" if version == 11 else "adoption",
            segment=["enterprise", "small_business"][version % 2],
        ),
        versions,
    ),
    st.builds(
        lambda to, before, version, episode, age: band_changed(
            to, before, version=version, episode=episode, as_of=NOW - timedelta(days=age)
        ),
        bands,
        bands,
        versions,
        st.integers(1, 4),
        st.integers(0, 7),
    ),
    st.builds(lambda version, episode: went_silent(version=version, episode=episode), versions, st.integers(1, 4)),
)
histories = st.lists(st.tuples(events, st.integers(0, 40)), max_size=30)
"""Events, each with the days that pass before it arrives."""


@given(histories)
def test_an_account_never_has_two_open_runs_of_a_playbook_nor_a_lower_beside_a_higher_priority(
    history: list[tuple[Event, int]],
) -> None:
    memory, as_of = Memory(), NOW
    for event, days in history:
        as_of += timedelta(days=days)
        memory.take(event, as_of)
        priorities = [run.playbook.priority for run in memory.situation.open_runs]
        assert len(priorities) <= 1, "both shipped playbooks have their own priority"
        remembered = [past.playbook for past in memory.situation.last_runs]
        assert len(remembered) == len(set(remembered)), "as many as there are playbooks, whatever lies behind"


@given(histories)
def test_the_same_finding_never_starts_two_runs_and_those_of_an_episode_tell_ever_worse_bands(
    history: list[tuple[Event, int]],
) -> None:
    memory, as_of, told = Memory(), NOW, list[Run]()
    for event, days in [*history, *history]:
        as_of += timedelta(days=days)
        decisions = memory.take(event, as_of)
        if not isinstance(event, StepsDue):
            told += [decision.run for decision in decisions if isinstance(decision, Started)]
    assert len({run.run_id for run in told}) == len(told)
    assert len({(run.playbook.name, run.finding.id) for run in told}) == len(told)
    for run, later in combinations([run for run in told if run.playbook.name == "usage-decline"], 2):
        assert run.finding.episode <= later.finding.episode
        if run.finding.episode == later.finding.episode:
            assert (run.finding.band, later.finding.band) == (Band.YELLOW, Band.RED)
    silences = [run.finding.episode for run in told if run.playbook.name == "account-silent"]
    assert silences == sorted(set(silences))


@given(histories)
def test_whoever_is_told_is_told_as_the_tier_of_that_moment_does_and_each_thing_once(
    history: list[tuple[Event, int]],
) -> None:
    memory, as_of = Memory(), NOW
    for event, days in history:
        as_of += timedelta(days=days)
        memory.take(event, as_of)
    for _, touch in memory.told:
        tier = TIERS.of(touch.facts.segment)
        assert touch.tier is tier
        assert touch.channel is (Channel.EMAIL if tier is Tier.TECH else Channel.SLACK)
    findings = [(run.playbook.name, run.finding.id) for run, _ in memory.told]
    assert len(findings) == len(set(findings))


@given(histories, st.data())
def test_an_event_that_comes_again_starts_and_ends_nothing_new(
    history: list[tuple[Event, int]], data: st.DataObject
) -> None:
    """A finding may be told again for as long as the log lives, after claims have forgotten it, too."""
    once, as_of = Memory(), NOW
    for event, days in history:
        as_of += timedelta(days=days)
        once.take(event, as_of)
        if isinstance(event, StepsDue):
            continue
        before = once.situation
        once.take(event, as_of)
        assert [(r.run_id, r.step) for r in once.situation.open_runs] == [(r.run_id, r.step) for r in before.open_runs]
        assert once.situation.last_runs == before.last_runs


@given(histories)
def test_the_same_input_gives_the_same_decisions(history: list[tuple[Event, int]]) -> None:
    one, other, as_of = Memory(), Memory(), NOW
    for event, days in history:
        as_of += timedelta(days=days)
        assert one.take(event, as_of) == other.take(event, as_of)


@given(histories)
def test_only_open_runs_end(history: list[tuple[Event, int]]) -> None:
    memory, as_of = Memory(), NOW
    for event, days in history:
        as_of += timedelta(days=days)
        still_open = set(memory.open)
        for decision in memory.take(event, as_of):
            if isinstance(decision, Started):
                still_open.add(decision.run.run_id)
            if isinstance(decision, Ended):
                assert decision.run.ended_at == as_of
                still_open.remove(decision.run.run_id)
        assert still_open == set(memory.open)


@given(st.data())
def test_the_events_of_an_episode_give_the_same_open_runs_in_any_order_and_number(data: st.DataObject) -> None:
    """One decline and perhaps its recovery: findings of the episode, the snapshots of their versions, in any order."""
    worsens = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True))
    recovers = data.draw(st.sampled_from([None, 8]))
    told: list[Event] = [
        band_changed(Band.RED if n else Band.YELLOW, Band.YELLOW if n else Band.GREEN, version=version)
        for n, version in enumerate(sorted(worsens))
    ]
    told += [snapshot(version, band=Band.YELLOW) for version in range(1, 8)]
    if recovers:
        told += [snapshot(recovers, band=Band.GREEN), band_changed(Band.GREEN, Band.RED, version=recovers)]
    again = data.draw(st.lists(st.sampled_from(told)))
    memory = Memory(catalogue(usage_decline()))
    for event in data.draw(st.permutations(told + again)):
        memory.take(event)
    assert len(memory.open) == (0 if recovers else 1)
    assert memory.situation.waiting == ()


@given(st.data())
def test_a_decline_and_a_silence_end_with_the_silent_run_alone_in_any_order(data: st.DataObject) -> None:
    told: list[Event] = [band_changed(version=1), went_silent(version=2), snapshot(1), snapshot(2, silent=True)]
    again = data.draw(st.lists(st.sampled_from(told)))
    memory = Memory()
    for event in data.draw(st.permutations(told + again)):
        memory.take(event)
    assert [run.playbook.name for run in memory.situation.open_runs] == ["account-silent"]
