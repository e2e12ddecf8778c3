"""Where the services answer, and one way to ask them that turns every failure into a sentence."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from libs.common.settings import SERVICES

KEY_VARIABLE = "KIZASHI_CLI_API_KEY"
DEFAULT_PORTS = {"ingest": 8080, "health": 8081, "playbook": 8082, "notify": 8083}
CONSUMERS = ("health", "playbook", "notify")
"""The services that read the event log, and so have dead letters."""


def url_variable(service: str) -> str:
    return f"KIZASHI_CLI_{service.upper()}_URL"


@dataclass(frozen=True)
class Apis:
    """``urls`` by service; ``api_key`` goes with every request."""

    urls: dict[str, str]
    api_key: str

    @classmethod
    def found(cls) -> Apis:
        """From the environment, else from the run.json of what runs on this machine. Raises ClickException."""
        api_key = os.environ.get(KEY_VARIABLE) or running_here().get("api_key")
        if not api_key:
            raise click.ClickException(_no_key())
        return cls(urls_found(), api_key)

    def get(self, service: str, path: str, **query: Any) -> Any:
        """The answer's JSON. Raises ClickException with a sentence when there is none or it is an error."""
        return self._ask(
            "GET", service, path, params={name: value for name, value in query.items() if value is not None}
        )

    def put(self, service: str, path: str, body: dict[str, Any]) -> Any:
        return self._ask("PUT", service, path, json=body)

    def post(self, service: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", service, path, json=body)

    def patch(self, service: str, path: str, body: dict[str, Any]) -> Any:
        return self._ask("PATCH", service, path, json=body)

    def delete(self, service: str, path: str) -> Any:
        return self._ask("DELETE", service, path)

    def get_if_known(self, service: str, path: str) -> Any | None:
        """Like ``get``, but None for what the service does not know."""
        try:
            return self.get(service, path)
        except Unknown:
            return None

    def _ask(self, method: str, service: str, path: str, **request: Any) -> Any:
        url = f"{self.urls[service]}{path}"
        headers = {"Authorization": f"Bearer {self.api_key}"}
        try:
            answer = httpx.request(method, url, headers=headers, timeout=15, **request)
            found = answer.json()
        except httpx.InvalidURL as exc:
            raise click.ClickException(f"{url_variable(service)} is not an address: {exc}") from exc
        except (httpx.HTTPError, ValueError) as exc:
            raise Unreachable(
                f"{service} does not answer at {self.urls[service]} ({type(exc).__name__}); does it run there? "
                f"{url_variable(service)} names another address."
            ) from exc
        if answer.is_success:
            return found
        sentence = found.get("message") if isinstance(found, dict) else None
        problem = f"{service} answers {answer.status_code}: {sentence or answer.text[:200]}"
        if answer.status_code == 404:
            raise Unknown(problem)
        raise Unreachable(problem) if answer.is_server_error else click.ClickException(problem)


def _no_key() -> str:
    elsewhere = f"For an installation elsewhere set {KEY_VARIABLE}, and {url_variable('ingest')} and so on."
    if run_file().exists():
        return f"No API key: {run_file()} names none. Start anew what runs here: make stop, make run. {elsewhere}"
    return (
        f"No API key: nothing runs here, since there is no {run_file()}. Start it: make run. If it runs in another "
        f"folder, KIZASHI_HOME names that. {elsewhere}"
    )


def urls_found() -> dict[str, str]:
    """Where each service is looked for: the environment, else what runs on this machine, else its usual port."""
    running = running_here().get("urls", {})
    urls = {
        name: os.environ.get(url_variable(name)) or running.get(name) or f"http://127.0.0.1:{DEFAULT_PORTS[name]}"
        for name in SERVICES
    }
    return {name: url.rstrip("/") for name, url in urls.items()}


class Unknown(click.ClickException):
    """The service knows no such thing, or not in the key's workspace."""


class Unreachable(click.ClickException):
    """It may answer later."""


def run_file() -> Path:
    return Path(os.environ.get("KIZASHI_HOME", ".kizashi")).absolute() / "run.json"


def running_here() -> dict[str, Any]:
    """What `make run` keeps for scripts as long as it runs; nothing when it does not."""
    try:
        found: dict[str, Any] = json.loads(run_file().read_text())
        return found
    except (OSError, ValueError):
        return {}
