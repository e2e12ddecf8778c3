"""Tells the story as it happens: which account changed and why, who was told, and how soon. Reads only HTTP APIs."""

from __future__ import annotations

import asyncio

import httpx

from deploy.local.demo.asking import Account, Asking, Told
from deploy.local.demo.verdict import Sighting
from deploy.local.terminal import Terminal
from libs.common.clock import Clock, wall_now

WORTH_TELLING = 10.0
"""Points that a score must have moved since it was last told, if it stayed in its band."""


class Narrator:
    def __init__(self, asking: Asking, clock: Clock, terminal: Terminal) -> None:
        self._asking = asking
        self._clock = clock
        self._terminal = terminal
        self._last: dict[str, Account] = {}
        self._lost: dict[str, dict[str, float]] = {}
        self._settled: set[str] = set()
        self._about: str | None = None

    async def look(self) -> list[Sighting]:
        """Tell what is new since the last look. The answer is every score as it was seen, for whoever judges the story.

        A service that does not answer just now is asked the next time.
        """
        try:
            accounts, deliveries = await asyncio.gather(self._asking.accounts(), self._asking.deliveries())
            seen_at, at = wall_now(), self._clock.now()
            for account in accounts:
                await self._account(account)
            for told in deliveries:
                if told.settled and told.delivery_id not in self._settled:
                    self._settled.add(told.delivery_id)
                    self._delivery(told)
        except httpx.HTTPError:
            return []
        return [Sighting(seen_at, at, account.account_id, account.score, account.band) for account in accounts]

    async def _account(self, account: Account) -> None:
        last = self._last.get(account.account_id)
        if last is None or last.score is None or account.score is None:
            await self._why(account)
            self._last[account.account_id] = account
        elif self._is_news(last, account):
            why = await self._why(account)
            if account.silent and not last.silent:
                why = "nobody has done anything for longer than its own rhythm explains"
            self._last[account.account_id] = account
            self._about = account.account_id
            band = self._terminal.colour(account.band or "dim", f"{account.band or 'unknown':<6}")
            self._terminal.line(
                f"  {self._date()}  {account.name:<20} {last.score:5.1f} → {account.score:5.1f}  {band}  {why}"
            )

    @staticmethod
    def _is_news(last: Account, now: Account) -> bool:
        moved = abs((now.score or 0) - (last.score or 0))
        return now.band != last.band or now.silent != last.silent or moved >= WORTH_TELLING

    async def _why(self, account: Account) -> str:
        """The measure that moved the score most since it was last told."""
        lines = await self._asking.lines(account.account_id)
        before = self._lost.get(account.account_id, {})
        now = {line["measure"]: float(line["lost"]) for line in lines}
        self._lost[account.account_id] = now
        moved = max(lines, key=lambda line: abs(now[line["measure"]] - before.get(line["measure"], 0)), default=None)
        return "" if moved is None else f"{moved['title']}: {moved['value']}"

    def _delivery(self, told: Told) -> None:
        if told.delivery.account_id != self._about:
            self._terminal.line(f"  {self._date()}  {told.account_name}")
            self._about = told.delivery.account_id
        self._terminal.line(self._terminal.colour("bold", f"              → {_outcome(told)}"))

    def _date(self) -> str:
        return f"{self._clock.now():%a %d %b}"

    async def standings(self) -> None:
        """All accounts with their scores, the worst first."""
        accounts = await self._asking.accounts()
        for account in sorted(accounts, key=_worst_first):
            score = "    –" if account.score is None else f"{account.score:5.1f}"
            bullet = self._terminal.colour(account.band or "dim", "●")
            self._terminal.line(f"    {bullet} {score}  {account.name:<20} {account.segment.replace('_', ' ')}")


def _worst_first(account: Account) -> tuple[float, str]:
    return (101 if account.score is None else account.score, account.name)


def _outcome(told: Told) -> str:
    by = {"slack": "Slack", "email": "Email to"}.get(told.delivery.channel, told.delivery.channel)
    if told.seconds is not None:
        return f"{by} {told.target}: accepted {told.seconds:.1f} s after it was due"
    return f"{by} {told.target or 'nobody'}: {told.delivery.state}" + (f" ({told.reason})" if told.reason else "")
