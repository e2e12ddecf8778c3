"""A version of a playbook means one thing for ever: runs, touches and timelines name it."""

from __future__ import annotations

from pathlib import Path

from libs.common.config_file import line_in, mistake
from libs.common.db import Database
from services.playbook.definitions import Catalogue
from services.playbook.store.versions import content, load_versions, store_versions


async def remember_versions(database: Database, config_dir: Path, catalogue: Catalogue) -> None:
    """Store what the versions of ``catalogue`` say, which was read from ``config_dir``, before anything is done with
    them. Raises NotStarted, and stores nothing, when one of them has said something else before."""
    async with database.transaction() as connection:
        await store_versions(connection, catalogue.playbooks)
        known = await load_versions(connection)
        for playbook in catalogue.playbooks:
            versions, now = known[playbook.name], content(playbook)
            before = versions[playbook.version]
            if edited := sorted(field for field in now.keys() | before.keys() if now.get(field) != before.get(field)):
                path = config_dir / "playbooks" / f"{playbook.name}.yaml"
                problem = (
                    f"version: {playbook.version} has been in use with other {', '.join(edited)}; "
                    f"raise it to {max(versions) + 1}, or undo the edit"
                )
                raise mistake(path, line_in(path, ("version",)), problem)
