"""What each version of a playbook said when a process first started with it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.db import AsyncConnection, text
from services.playbook.definitions import Playbook


async def store_versions(connection: AsyncConnection, playbooks: Sequence[Playbook]) -> None:
    """Store what is not known by name and version yet; what is known stays as it is."""
    await connection.execute(
        text(
            "INSERT INTO known_definition (name, version, definition) SELECT name, version, CAST(definition AS jsonb) "
            "FROM unnest(CAST(:names AS text[]), CAST(:versions AS int[]), CAST(:definitions AS text[])) "
            "AS given (name, version, definition) ORDER BY name ON CONFLICT DO NOTHING"
        ),
        {
            "names": [playbook.name for playbook in playbooks],
            "versions": [playbook.version for playbook in playbooks],
            "definitions": [json.dumps(content(playbook)) for playbook in playbooks],
        },
    )


async def load_versions(connection: AsyncConnection) -> Mapping[str, Mapping[int, dict[str, Any]]]:
    """The ``content`` of every version, by the playbook's name."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in await connection.execute(text("SELECT name, version, definition FROM known_definition")):
        found[row.name][row.version] = row.definition
    return found


def content(playbook: Playbook) -> dict[str, Any]:
    """What the file says. Defaults are left out: a field that a release adds changes nobody's playbook."""
    return playbook.model_dump(mode="json", exclude_defaults=True)
