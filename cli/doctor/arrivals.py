"""What the sources sent lately: whether events are refused, or count to no account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cli.doctor.findings import Finding, warning
from cli.doctor.schemas import as_role, reader_of
from cli.printing import counted, plain
from libs.common.db import text

WORTH_SAYING = 0.1
"""Of the calls that should count to an account. A few that do not are pages before the login."""


@dataclass(frozen=True)
class Arrivals:
    """Of the last 100 events and 100 rejects of a source. ``used`` calls should count to an account; ``lost`` ones name
    none, and their users have never made a group call. ``refused`` within a day, most of them as ``code``; not what an
    import was asked to wait for, which is its pace."""

    workspace: str
    source: int
    name: str
    used: int
    lost: int
    refused: int
    code: str


async def ask(url: str, workspaces: Mapping[int, str]) -> Sequence[Arrivals]:
    """Raises NotStarted, RetryLater."""
    async with as_role(url, reader_of("ingest"), "ingest") as database, database.transaction(workspaces) as connection:
        events = (
            await connection.execute(
                text(
                    "SELECT workspace_id, source_id, coalesce(account_id, '') = '' AS unnamed, "
                    "coalesce('u:' || user_id, 'a:' || anonymous_id, '') AS user_key, count(*) AS events "
                    "FROM recent_event WHERE kind IN ('track', 'page', 'screen') "
                    "AND noted_at > now() - interval '7 days' GROUP BY 1, 2, 3, 4"
                )
            )
        ).all()
        sources = (
            await connection.execute(
                text(
                    "SELECT s.workspace_id, s.source_id, s.name, coalesce(sum(r.times), 0) AS refused, "
                    "coalesce(mode() WITHIN GROUP (ORDER BY r.code), '') AS code "
                    "FROM source s LEFT JOIN recent_reject r ON r.workspace_id = s.workspace_id "
                    "AND r.source_id = s.source_id AND r.noted_at > now() - interval '1 day' "
                    "AND NOT (r.historical AND r.code = 'over_quota') "
                    "GROUP BY 1, 2, 3 ORDER BY 1, 2"
                )
            )
        ).all()
    unnamed = {(row.workspace_id, row.user_key) for row in events if row.unnamed}
    grouped = await _who_made_group_calls(url, workspaces, unnamed) if unnamed else set()
    used: dict[tuple[int, int], int] = defaultdict(int)
    lost: dict[tuple[int, int], int] = defaultdict(int)
    for row in events:
        place = (row.workspace_id, row.source_id)
        used[place] += row.events
        if row.unnamed and (row.workspace_id, row.user_key) not in grouped:
            lost[place] += row.events
    return [
        Arrivals(
            workspace=workspaces[row.workspace_id],
            source=row.source_id,
            name=plain(row.name),
            used=used[row.workspace_id, row.source_id],
            lost=lost[row.workspace_id, row.source_id],
            refused=int(row.refused),
            code=row.code,
        )
        for row in sources
    ]


async def _who_made_group_calls(
    url: str, workspaces: Mapping[int, str], users: set[tuple[int, str]]
) -> set[tuple[int, str]]:
    """Of these users, with their workspaces. Aliases are not followed."""
    numbers, keys = zip(*sorted(users), strict=True)
    async with as_role(url, reader_of("health"), "health") as database, database.transaction(workspaces) as connection:
        rows = await connection.execute(
            text(
                # Each is looked up: without OFFSET the planner may read the calls of all users for it.
                "SELECT workspace_id, user_key "
                "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:keys AS text[])) AS asked (workspace_id, user_key) "
                "WHERE EXISTS (SELECT FROM group_call g WHERE g.workspace_id = asked.workspace_id "
                "AND g.user_key = asked.user_key OFFSET 0)"
            ),
            {"workspaces": list(numbers), "keys": list(keys)},
        )
        return {(row.workspace_id, row.user_key) for row in rows}


def judge(arrivals: Sequence[Arrivals]) -> Iterator[Finding]:
    for one in arrivals:
        name = f"the source {one.name} ({one.source}) of {one.workspace}"
        if one.lost and one.lost >= WORTH_SAYING * one.used:
            yield warning(
                "source_without_accounts",
                f"Of the last {one.used} track, page and screen calls of {name} {one.lost} name no account, and their "
                "users have made no group call: they are missing from every score.",
                "Call group(userId, accountId) once after each login, or send the property account_id; "
                f"`kizashi sources show {one.source}` looks closer.",
                about=one.name,
            )
        if one.refused:
            yield warning(
                "source_rejects",
                f"Within a day {name} met with {counted(one.refused, 'refusal')}, mostly as {one.code}.",
                f"`kizashi tail --source {one.source} --rejects` shows them, and what to do.",
                about=one.name,
            )
