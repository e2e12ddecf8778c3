"""Asks the services' own APIs and the inbox, as any script could: what is known, what was decided, who was told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import httpx

from deploy.local.demo.verdict import Cell, Delivery, Mail, SlackAlert

PAGE = 200


@dataclass(frozen=True)
class Account:
    """An account as health lists it. ``score`` and ``band`` are None while there is too little data."""

    account_id: str
    name: str
    segment: str
    score: float | None
    band: str | None
    silent: bool


@dataclass(frozen=True)
class Told:
    """A row of the ledger with what a narrator says of it. ``seconds`` is real time from due to accepted."""

    delivery_id: str
    delivery: Delivery
    account_name: str
    target: str | None
    reason: str | None

    @property
    def settled(self) -> bool:
        return self.delivery.state in ("sent", "suppressed", "failed")

    @property
    def seconds(self) -> float | None:
        accepted = self.delivery.accepted_at
        return None if accepted is None else (accepted - self.delivery.due_at).total_seconds()


class Asking:
    """``urls`` are those of run.json. Every question raises httpx.HTTPError when it is not answered."""

    def __init__(self, urls: dict[str, str], api_key: str) -> None:
        self._urls = urls
        self._http = httpx.AsyncClient(timeout=10, headers={"Authorization": f"Bearer {api_key}"})

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _get(self, service: str, path: str, **query: Any) -> Any:
        answer = await self._http.get(f"{self._urls[service]}{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    async def accounts(self) -> list[Account]:
        found = await self._get("health", "/v1/accounts", limit=PAGE)
        return [
            Account(
                account_id=one["account_id"],
                name=one["name"],
                segment=one["segment"],
                score=one["score"],
                band=one["band"],
                silent=one["silent_since"] is not None,
            )
            for one in found["accounts"]
        ]

    async def lines(self, account_id: str) -> list[dict[str, Any]]:
        """What each measure of the account says and costs: ``measure``, ``title``, ``value``, ``lost`` points, …."""
        found = await self._get("health", f"/v1/accounts/{account_id}/health")
        lines: list[dict[str, Any]] = found["explanation"]
        return lines

    async def usage(self, account_id: str) -> Counter[Cell]:
        """How often each event was counted, by day."""
        found = await self._get("health", f"/v1/accounts/{account_id}/usage")
        return Counter(
            {(account_id, date.fromisoformat(one["day"]), one["event"]): one["count"] for one in found["days"]}
        )

    async def progress(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._get("health", "/v1/progress")
        return found

    async def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._get("playbook", "/v1/runs", limit=PAGE))["runs"]
        return found

    async def deliveries(self) -> list[Told]:
        """The whole ledger of a demo, oldest first."""
        found = await self._get("notify", "/v1/deliveries", limit=PAGE)
        return [_told(one) for one in reversed(found["deliveries"])]

    async def slack(self) -> list[SlackAlert]:
        found = await self._get("inbox", "/v1/messages", channel="slack")
        return [SlackAlert(one["channel_name"], _all_text(one)) for one in found["messages"]]

    async def mails(self) -> list[Mail]:
        found = await self._get("inbox", "/v1/messages", channel="email")
        return [
            Mail(one["message_id"], tuple(one["recipients"]), one["subject"] + "\n" + one["text"])
            for one in found["messages"]
        ]

    async def is_observing(self) -> bool:
        return bool((await self._get("notify", "/v1/delivery-mode"))["mode"] == "observe")

    async def enable_deliveries(self) -> None:
        """Leave observe: what is decided from now on is sent."""
        answer = await self._http.put(
            f"{self._urls['notify']}/v1/delivery-mode", json={"mode": "enabled", "kill_switch": False}
        )
        answer.raise_for_status()


def _told(one: dict[str, Any]) -> Told:
    return Told(
        delivery_id=one["id"],
        delivery=Delivery(
            account_id=one["account_id"],
            channel=one["channel"],
            playbook=one["playbook"],
            tier=one["tier"],
            state=one["state"],
            requested_at=datetime.fromisoformat(one["requested_at"]),
            due_at=datetime.fromisoformat(one["due_at"]),
            accepted_at=datetime.fromisoformat(one["accepted_at"]) if one["accepted_at"] else None,
        ),
        account_name=one["facts"]["account_name"],
        target=one["target"],
        reason=one["reason"],
    )


def _all_text(message: Any) -> str:
    """Every text of a Slack message, wherever in its blocks it stands."""
    match message:
        case dict():
            return "\n".join(
                value if name == "text" and isinstance(value, str) else _all_text(value)
                for name, value in message.items()
                if name in ("text", "blocks", "fields", "elements", "accessory")
            )
        case list():
            return "\n".join(_all_text(one) for one in message)
        case _:
            return ""
