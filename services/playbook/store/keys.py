"""Which account a row belongs to, and how many accounts are asked for in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from libs.common.events import AccountEvent

Key = tuple[int, str]
"""Workspace and account id."""

GIVEN_ACCOUNTS = "unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[])) AS given (workspace_id, account_id)"
"""A table of the accounts asked for; its parameters come from ``arrays``."""

GIVEN = f"{GIVEN_ACCOUNTS} USING (workspace_id, account_id)"
"""The same, to be joined."""


def key_of(event: AccountEvent) -> Key:
    return event.workspace, event.account_id


def arrays(keys: Iterable[Key]) -> dict[str, Sequence[object]]:
    """The parameters of ``GIVEN``, sorted, so that rows are locked in one order by everybody."""
    ordered = sorted(set(keys))
    return {"workspaces": [workspace for workspace, _ in ordered], "accounts": [account for _, account in ordered]}
