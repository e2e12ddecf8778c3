"""The order of the looks: who answers, then what each of them knows; each with a deadline, so that none ever hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from time import monotonic
from typing import Any, TypeVar

from cli.doctor import (
    arrivals,
    configuration,
    deliveries,
    domain_clock,
    event_log,
    keys,
    providers,
    readiness,
    reading,
    schemas,
    server,
    workspaces,
)
from cli.doctor.configuration import Configuration, InstallationSettings
from cli.doctor.event_log import Log
from cli.doctor.findings import Area, Finding, Report, problem
from cli.doctor.schemas import Revision
from cli.doctor.surroundings import Surroundings
from libs.common.clock import wall_now
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import Places

LOOK_SECONDS = 10.0
"""For one look, where every single question has a shorter deadline of its own."""
ALL_SECONDS = 40.0
"""For all of them. What freezes in the middle of an examination makes every later look slow."""

T = TypeVar("T")


async def examine(here: Surroundings, *, asks_providers: bool) -> Report:
    """Everything that is in sight. Never raises, and ends within a minute whatever is frozen."""
    settings, configured = configuration.look()
    looks = _Looks(settings.common) if settings.common is not None and settings.has_database else None
    installed, answers, told = await asyncio.gather(
        looks.areas() if looks is not None else _nothing(),
        readiness.ask(here.addresses),
        _providers(settings, asks_providers),
    )
    services = [readiness.judge(name, address, answers[name]) for name, address in here.addresses.items()]
    return Report(
        looked_at=here.looked_at,
        areas=[Area("configuration", configured), *installed, Area("services", services), *told],
        could_look=looks is not None or any(answer.problems is not None for answer in answers.values()),
    )


async def _nothing() -> list[Area]:
    return []


async def _providers(settings: Configuration, asks: bool) -> list[Area]:
    return [Area("Slack and mail", await providers.look(settings.notify))] if asks and settings.notify else []


class _Looks:
    """At the databases and the log. What a look needs of an earlier one that failed is not asked."""

    def __init__(self, settings: InstallationSettings) -> None:
        self._settings = settings
        self._url = settings.database_url.get_secret_value()
        self._found: dict[str, list[Finding]] = {}
        self._ends_at = monotonic() + ALL_SECONDS

    async def areas(self) -> list[Area]:
        async with AsyncExitStack() as stack:
            has_roles = await self._server()
            log = await self._log(stack) if has_roles or self._log_is_elsewhere else None
            places = log.places if log is not None else None
            revisions = await self._revisions() if has_roles else {}
            await self._reading(revisions, places)
            await self._workspaces(revisions)
            await self._newest(places)
        return [Area(name, findings) for name, findings in self._found.items() if findings]

    @property
    def _log_is_elsewhere(self) -> bool:
        return self._settings.event_log_url != self._url

    def _add(self, area: str, *findings: Finding) -> None:
        self._found.setdefault(area, []).extend(findings)

    async def _ask(self, area: str, what: str, question: Coroutine[Any, Any, T]) -> T | None:
        """None, and a finding, when there was no answer."""
        seconds = min(LOOK_SECONDS, self._ends_at - monotonic())
        if seconds <= 0:
            question.close()
            self._add(area, problem("unseen", f"{what}: not looked at, since all the time went into what was frozen."))
            return None
        try:
            async with asyncio.timeout(seconds):
                return await question
        except NotStarted as exc:
            self._add(area, problem("unseen", str(exc)))
        except TimeoutError:
            self._add(area, problem("unseen", f"{what}: no answer within {seconds:.0f} s."))
        except RetryLater as exc:
            self._add(area, problem("unseen", f"{what} cannot be seen: {exc}.", "Look again once it answers."))
        except Exception as exc:  # a doctor that falls ill of what it finds helps nobody
            self._add(area, problem("unseen", f"{what} cannot be seen ({type(exc).__name__}: {exc})."))
        return None

    # --- the looks ---

    async def _server(self) -> bool:
        """Whether the roles of the services can be taken."""
        found = await self._ask("PostgreSQL", "PostgreSQL", server.ask(self._url))
        if found is None:
            return False
        self._add("PostgreSQL", *server.judge(found))
        self._add("time", server.judge_clock(found))
        return all(found.roles.get(role) for role in server.ROLES)

    async def _log(self, stack: AsyncExitStack) -> Log | None:
        log = await self._ask(
            "event log", "The event log", stack.enter_async_context(event_log.looked_at(self._settings))
        )
        self._add("event log", *(log.findings if log is not None else ()))
        return log

    async def _revisions(self) -> Mapping[str, Revision]:
        revisions = await self._ask("PostgreSQL", "Where the migrations are", schemas.ask(self._url)) or {}
        if revisions:
            self._add("PostgreSQL", *schemas.judge(revisions))
        return {name: revision for name, revision in revisions.items() if not revision.is_behind}

    async def _reading(self, revisions: Mapping[str, Revision], places: Places | None) -> None:
        for group in reading.GROUPS:
            if group not in revisions:
                continue
            if places is not None:
                standing = await self._ask(
                    "reading", f"How far {group} has read", reading.ask_standing(self._url, places, group)
                )
                self._add("reading", *(reading.judge_standing(standing) if standing is not None else ()))
            backlog = await self._ask("reading", f"What waits at {group}", reading.ask_backlog(self._url, group))
            self._add("reading", *(reading.judge_backlog(group, backlog) if backlog is not None else ()))

    async def _workspaces(self, revisions: Mapping[str, Revision]) -> None:
        now, findings = domain_clock.look(self._settings)
        self._add("time", *findings)
        if "access" not in revisions:
            return
        names = await self._ask("workspaces", "The workspaces", workspaces.ask_workspaces(self._url))
        if names is None:
            return
        self._add("workspaces", *workspaces.judge_workspaces(names))
        if "notify" in revisions:
            modes = await self._ask("workspaces", "What may leave the house", deliveries.ask_modes(self._url, names))
            self._add("workspaces", *(deliveries.judge_modes(modes) if modes is not None else ()))
            late = await self._ask("workspaces", "What waits to leave", deliveries.ask_waiting(self._url, names))
            self._add("workspaces", *(deliveries.judge_waiting(late) if late is not None else ()))
        if "ingest" in revisions:
            known = await self._ask("workspaces", "The keys", keys.ask_keys(self._url, names))
            self._add("workspaces", *(keys.judge_keys(known) if known is not None else ()))
        if {"ingest", "health"} <= set(revisions):
            sources = await self._ask("workspaces", "The sources", workspaces.ask_sources(self._url, names))
            today = (now or wall_now()).date()
            self._add("workspaces", *(workspaces.judge_sources(sources, today) if sources is not None else ()))
            lately = await self._ask("workspaces", "What the sources sent lately", arrivals.ask(self._url, names))
            self._add("workspaces", *(arrivals.judge(lately) if lately is not None else ()))

    async def _newest(self, places: Places | None) -> None:
        if places is None:
            return
        newest = await self._ask("time", "The clock of the event log", domain_clock.ask_newest(places))
        self._add("time", *domain_clock.judge_newest(newest, wall_now()))
