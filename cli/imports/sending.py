"""Sends a batch until it is accepted or finally refused, whatever ingest and the network do meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

import httpx

from cli.apis import url_variable
from cli.imports.problems import Misused, Stopped

PATH = "/v1/import"
BATCH_EVENTS = 500
BATCH_BYTES = 1024 * 1024
"""As JSON, so a good deal less when it travels."""
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 30.0
ANSWER_SECONDS = 30.0
"""Ingest decides within 8."""
COMPRESSION = 3
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class Refusal(NamedTuple):
    """Of one call of a batch, by its place."""

    place: int
    code: str
    message: str


@dataclass
class Sender:
    """``told`` hears what is waited for, and None when it goes on.

    It gives up when nothing was accepted for ``patience_seconds``; a quota that is used up is no such failure.
    """

    url: str
    write_key: str
    patience_seconds: float
    told: Callable[[str | None], None] = field(default=lambda _: None)

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(
            timeout=ANSWER_SECONDS,
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip", "X-Write-Key": self.write_key},
        )
        self._alive_at = monotonic()

    async def check(self) -> None:
        """Raises Misused for what no waiting mends: the address, or the key."""
        try:
            answer = await self._http.post(self.url + PATH, content=_body([]))
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Misused(
                f"ingest does not answer at {self.url} ({type(exc).__name__}); does it run there? "
                f"{url_variable('ingest')} names another address."
            ) from exc
        try:
            if answer.status_code != 200 and answer.status_code not in _PASSING:
                raise Misused(_why_not(answer))
            _said(answer)
        except Stopped as exc:
            raise Misused(exc.message) from exc
        self._alive_at = monotonic()

    async def send(self, calls: Sequence[bytes]) -> list[Refusal]:
        """Those that were refused; all others are durable. Raises Stopped."""
        refused: list[Refusal] = []
        pieces = [(0, calls)] if calls else []
        while pieces:
            start, piece = pieces.pop()
            answer = await self._answer(piece)
            if answer.status_code == 413:
                if len(piece) == 1:
                    refused.append(Refusal(start, "body_too_large", str(_said(answer).get("message", ""))))
                else:
                    half = len(piece) // 2
                    pieces += [(start, piece[:half]), (start + half, piece[half:])]
                continue
            said = _said(answer)
            errors = said.get("errors", [])
            refused += [Refusal(start + one["index"], one["code"], one["message"]) for one in errors]
            if said.get("rejected", 0) > len(errors):
                # Ingest names the first hundred. What it took of the others it recognises by their ids.
                beyond = errors[-1]["index"] + 1
                pieces.append((start + beyond, piece[beyond:]))
        return sorted(refused)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _answer(self, calls: Sequence[bytes]) -> httpx.Response:
        """A 200 or a 413."""
        body = _body(calls)
        pause = 1.0
        while True:
            answer: httpx.Response | None = None
            in_short = "no answer"
            try:
                answer = await self._http.post(self.url + PATH, content=body)
                why, in_short = f"ingest answers {answer.status_code}", str(answer.status_code)
            except httpx.TransportError as exc:
                why = f"ingest does not answer ({type(exc).__name__})"
            if answer is not None and answer.status_code not in _PASSING:
                if answer.status_code in (200, 413):
                    self._alive_at = monotonic()
                    self.told(None)
                    return answer
                raise Stopped(_why_not(answer))
            if answer is not None and answer.status_code == 429:
                self._alive_at = monotonic()
                why, in_short = "the quota of the write key is used up", "quota"
            if monotonic() - self._alive_at > self.patience_seconds:
                raise Stopped(f"Nothing was accepted for {self.patience_seconds:.0f} s: {why}.")
            wait = _retry_after(answer)
            if wait is None:
                wait = pause * random.uniform(0.7, 1.3)  # noqa: S311 - spreads, hides nothing
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            self.told(f"waits {wait:.0f} s: {in_short}")
            await asyncio.sleep(max(wait, SHORTEST_PAUSE_SECONDS))


def _body(calls: Sequence[bytes]) -> bytes:
    # No sentAt: it would say that our clock dated the events.
    return gzip.compress(b'{"batch":[' + b",".join(calls) + b"]}", COMPRESSION, mtime=0)


def _retry_after(answer: httpx.Response | None) -> float | None:
    text = answer.headers.get("retry-after", "") if answer is not None else ""
    return float(min(int(text), 300)) if text.isdecimal() else None


def _said(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or "success" not in found:
        raise Stopped(
            f"{answer.url} does not answer as ingest does (status {answer.status_code}); {url_variable('ingest')} "
            "names its address."
        )
    return found


def _why_not(answer: httpx.Response) -> str:
    if answer.is_redirect:
        to = answer.headers.get("location", "")
        return f"{answer.url} sends us on to {to}; give ingest's own address in {url_variable('ingest')}."
    message = str(_said(answer).get("message", ""))
    if answer.status_code == 401:
        message += " `kizashi keys create --source ID` makes one; give it by KIZASHI_CLI_WRITE_KEY or --write-key."
    return f"ingest answers {answer.status_code}: {message}"
