"""docker-compose.yml as Compose would read it: anchors merged, ``${NAME:-default}`` filled in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
SERVICES = ("ingest", "health", "playbook", "notify")
ONCE = ("migrate", "topics")
TOOLS = ("bootstrap", "kizashi")
OURS = (*SERVICES, *ONCE, *TOOLS)
THEIRS = ("postgres", "kafka", "mailpit", "prometheus")


@cache
def compose() -> dict[str, Any]:
    """As it is when neither .env nor the shell says anything."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text())
    assert "${" not in text, "only ${NAME:-default} is understood here"
    loaded: dict[str, Any] = YAML(typ="safe").load(text)
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def environment(name: str) -> dict[str, str]:
    """What Compose itself sets; a variable without a value comes from the shell, hence not here."""
    return {key: str(value) for key, value in service(name).get("environment", {}).items() if value is not None}


def secrets(name: str) -> dict[str, Path]:
    """Name under /run/secrets -> the file of this server that is mounted there."""
    found = {}
    for secret in service(name).get("secrets", []):
        source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
        found[target] = ROOT / compose()["secrets"][source]["file"]
    return found


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]
