"""Walks every endpoint of a running installation with another workspace's key, and with no key at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from libs.common.event_log import Record
from libs.common.event_log_open import event_log
from libs.common.settings import SERVICES
from libs.common.testing import eventually
from libs.common.topics import Topic
from services.ingest.paths import PATHS
from tests.e2e.running import ROOT

READ_BY = {"health": Topic.TELEMETRY, "playbook": Topic.HEALTH, "notify": Topic.TOUCHES}
OPEN_TO_ALL = {"/livez", "/readyz", "/metrics"}
OPENED_BY_WRITE_KEYS = {*PATHS, "/v1/projects/{key}/settings", "/sourceConfig"}
ANSWERS_ABOUT_ANYBODY = {"/v1/users/{user_id}/accounts": "user_id"}
"""Where who is not known belongs nowhere; and the field in which the answer says of whom it speaks."""
UNKNOWN = {
    "account_id": "nobody-knows-this",
    "user_id": "nobody-knows-this",
    "public_id": "0123456789ab",
    "source_id": "987654",
    "key_id": "987654",
    "delivery_id": "00000000-0000-4000-8000-000000000000",
    "letter_id": "00000000-0000-4000-8000-000000000000",
}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/v1/sources/{source_id}/write-keys": {"name": "mine now"},
    "/v1/sources/{source_id}/write-keys/{key_id}": {"events_per_s": 1},
    "/v1/api-keys": {"name": "mine now", "scopes": ["read"]},
    "/v1/suppressions": {"channel": "email", "target": "somebody@example.com", "reason": "asked for it"},
    "/v1/delivery-mode": {"mode": "observe"},
}


@dataclass(frozen=True)
class Eyes:
    """``api_key`` looks at the services of ``urls``."""

    urls: Mapping[str, str]
    api_key: str | None

    async def ask(self, service: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        async with httpx.AsyncClient(headers=headers, timeout=20) as http:
            return await http.request(method, self.urls[service] + path, json=body)

    async def get(self, service: str, path: str) -> Any:
        answer = await self.ask(service, "GET", path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()


def bootstrap(owner_url: str, name: str) -> dict[str, Any]:
    """Another workspace of the same installation, with its keys."""
    made = subprocess.run(
        [sys.executable, "-m", "services.ingest.bootstrap", "--workspace", name, "--source", name],
        cwd=ROOT,
        env={**os.environ, "KIZASHI_OWNER_DATABASE_URL": owner_url},
        capture_output=True,
        text=True,
        check=True,
    )
    keys: dict[str, Any] = json.loads(made.stdout)
    return keys


async def plant_dead_letters(log_url: str, workspace: int) -> None:
    """One record of the workspace in each topic that cannot be decoded."""
    log = event_log(log_url, name="foreign eyes")
    await log.open()
    for topic in READ_BY.values():
        await log.append(topic, [Record(f"{workspace}:planted".encode(), b"not an event")])
    await log.close()


async def ids_of(own: Eyes) -> dict[str, dict[str, str]]:
    """For each service, one real id of the workspace for every parameter that its paths have."""
    account = (await own.get("health", "/v1/accounts"))["accounts"][0]["account_id"]
    source = str((await own.get("ingest", "/v1/sources"))[0]["id"])
    write_key = str((await own.get("ingest", f"/v1/sources/{source}/write-keys"))[0]["id"])
    delivery = (await own.get("notify", "/v1/deliveries"))["deliveries"][0]["id"]

    async def letter_of(service: str) -> str:
        async def first() -> str | None:
            letters = await own.get(service, "/v1/dead-letters")
            return letters[0]["id"] if letters else None

        return await eventually(first, what=f"a dead letter of {service}") or ""

    ids = {name: {"account_id": account} for name in SERVICES}
    ids["ingest"] |= {"source_id": source, "key_id": write_key}
    ids["ingest"] |= {"public_id": (await own.get("ingest", "/v1/api-keys"))[0]["id"]}
    recent = (await own.get("ingest", f"/v1/sources/{source}/recent"))["events"]
    ids["health"] |= {"user_id": next(event["user_id"] for event in recent if event["user_id"])}
    ids["notify"] |= {"delivery_id": delivery}
    for name in READ_BY:
        ids[name] |= {"letter_id": await letter_of(name)}
    return ids


async def walk(own: Eyes, foreign: Eyes) -> int:
    """Asserts that the foreign key finds nothing of the own workspace anywhere. The answer is how many endpoints with
    an id were walked, each also shown to answer the own key."""
    nobody = Eyes(own.urls, None)
    ids = await ids_of(own)
    walked = 0
    for service in SERVICES:
        secrets = set(ids[service].values())
        for template, operations in (await own.get(service, "/openapi.json"))["paths"].items():
            if template in OPEN_TO_ALL | OPENED_BY_WRITE_KEYS:
                continue
            for method in (name.upper() for name in operations):
                names = re.findall(r"{(\w+)}", template)
                here = {name: quote(ids[service][name], safe="") for name in names}
                path, unknown = template.format(**here), template.format(**{name: UNKNOWN[name] for name in names})
                body = BODIES.get(template) if method in ("POST", "PUT", "PATCH") else None
                place = f"{method} {service}{template}"

                assert (await nobody.ask(service, method, path, body)).status_code == 401, place
                if names:
                    theirs = await foreign.ask(service, method, path, body)
                    nowhere = await foreign.ask(service, method, unknown, body)
                    if about := ANSWERS_ABOUT_ANYBODY.get(template):
                        assert theirs.json() | {about: ""} == nowhere.json() | {about: ""}, place
                    else:
                        assert theirs.status_code == nowhere.status_code == 404, (place, theirs.text, nowhere.text)
                        assert theirs.json()["code"] == nowhere.json()["code"], place
                    walked += 1
                if method == "GET":
                    assert (await own.ask(service, method, path)).status_code == 200, place
                    if not names:
                        seen = (await foreign.ask(service, method, path)).text
                        assert not [secret for secret in secrets if f'"{secret}"' in seen], place
    return walked
