"""Accounts with a past, made quickly: one comes the whole way, and the rows that a scoring by time reads are copied."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from services.health.domain.next_moment import daily_moment

_COPIED = ("account_trait", "account_day", "account_people", "score_history", "account")


async def copy_account(owner: asyncpg.Connection, workspace: int, original: str, copies: Sequence[str]) -> None:
    """Give each of ``copies`` what health knows of ``original``, and its own moment of the day at which it is due."""
    for table in _COPIED:
        columns = [
            row["column_name"]
            for row in await owner.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'health' AND table_name = $1 "
                "ORDER BY ordinal_position",
                table,
            )
        ]
        taken = ", ".join("copy" if column == "account_id" else f"t.{column}" for column in columns)
        await owner.execute(
            f"INSERT INTO health.{table} ({', '.join(columns)}) SELECT {taken} "
            f"FROM health.{table} t CROSS JOIN unnest($3::text[]) AS copy WHERE workspace_id = $1 AND account_id = $2",
            workspace,
            original,
            copies,
            timeout=600,
        )
    as_of = await owner.fetchval(
        "SELECT as_of FROM health.account WHERE workspace_id = $1 AND account_id = $2", workspace, original
    )
    await owner.execute(
        "INSERT INTO health.schedule (workspace_id, account_id, due_at) "
        "SELECT $1, * FROM unnest($2::text[], $3::timestamptz[])",
        workspace,
        copies,
        [daily_moment(account, as_of) for account in copies],
        timeout=600,
    )
    await owner.execute("ANALYZE", timeout=600)
