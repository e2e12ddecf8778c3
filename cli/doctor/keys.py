"""Keys that end soon or have ended, and workspaces in which nobody can make keys."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cli.doctor.findings import Finding, warning
from cli.doctor.schemas import as_role, reader_of
from cli.imports.write_key import KEY_NAME
from cli.printing import plain
from libs.common.db import Database, text

SOON_DAYS = 14
LATELY_DAYS = 30
"""For so long a key that ended is told of; whoever needed it has noticed by then."""


@dataclass(frozen=True)
class Ending:
    """A write key that is not being replaced, and is no import's, which makes one for itself and needs it no longer.
    ``ends_at`` is real time."""

    workspace: str
    source: int
    id: str
    name: str
    ends_at: datetime
    has_ended: bool


@dataclass(frozen=True)
class Keys:
    """``locked`` are the names of workspaces without a working API key of the scope admin."""

    ending: Sequence[Ending]
    locked: Sequence[str]


async def ask_keys(url: str, workspaces: Mapping[int, str]) -> Keys:
    async with as_role(url, reader_of("ingest"), "ingest") as database:
        return Keys(await _ending(database, workspaces), await _locked(database, workspaces))


async def _ending(database: Database, workspaces: Mapping[int, str]) -> list[Ending]:
    async with database.transaction(workspaces) as connection:
        rows = await connection.execute(
            text(
                "SELECT workspace_id, source_id, key_id, name, expires_at, expires_at <= now() AS has_ended "
                "FROM write_key k WHERE revoked_at IS NULL AND name <> :of_imports "
                "AND expires_at > now() - make_interval(days => :lately) "
                "AND expires_at < now() + make_interval(days => :soon) "
                "AND NOT EXISTS (SELECT FROM write_key newer WHERE newer.replaces = k.key_id) ORDER BY expires_at"
            ),
            {"lately": LATELY_DAYS, "soon": SOON_DAYS, "of_imports": KEY_NAME},
        )
        return [
            Ending(
                workspace=workspaces[row.workspace_id],
                source=row.source_id,
                id=row.key_id,
                name=plain(row.name),
                ends_at=row.expires_at,
                has_ended=row.has_ended,
            )
            for row in rows
            if row.workspace_id in workspaces
        ]


async def _locked(database: Database, workspaces: Mapping[int, str]) -> list[str]:
    async with database.transaction() as connection:
        rows = await connection.execute(
            text(
                "SELECT DISTINCT workspace_id FROM access.api_key WHERE revoked_at IS NULL "
                "AND (expires_at IS NULL OR expires_at > now()) AND 'admin' = ANY (scopes)"
            )
        )
        administered = {row.workspace_id for row in rows}
    return [name for number, name in workspaces.items() if number not in administered]


def judge_keys(keys: Keys) -> Iterator[Finding]:
    for one in keys.ending:
        name = f"The write key {one.name} ({one.id}) of source {one.source} of {one.workspace}"
        if one.has_ended:
            yield warning(
                "write_key_ended",
                f"{name} ended on {one.ends_at:%Y-%m-%d}: what still shows it loses its events.",
                f"`kizashi keys change {one.id} --expires {SOON_DAYS}d` lets it work again; if nothing shows it any "
                f"more: `kizashi keys revoke {one.id}`",
                about=one.id,
            )
        else:
            yield warning(
                "write_key_ends",
                f"{name} ends on {one.ends_at:%Y-%m-%d %H:%M} UTC: what still shows it then loses its events.",
                f"`kizashi keys rotate {one.id}`, or give it more time: `kizashi keys change {one.id} --expires 90d`",
                about=one.id,
            )
    for workspace in keys.locked:
        yield warning(
            "no_admin_key",
            f"No API key of {workspace} that works has the scope admin, so nobody can make keys or sources there.",
            f"Make one: python -m services.ingest.bootstrap --workspace {shlex.quote(workspace)} --api-key",
            about=workspace,
        )
