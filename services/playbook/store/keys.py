"""Which account a row belongs to, and how rows are found for many accounts in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from libs.common.events import AccountEvent

Key = tuple[int, str]
"""Workspace and account id."""

GIVEN_ACCOUNTS = "unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[])) AS given (workspace_id, account_id)"
"""A table of the accounts asked for; its parameters come from ``arrays``."""


def looked_up(table: str, *columns: str, by: str = "given") -> str:
    """The condition that ``table`` and ``by`` agree in ``columns``, of which ``table`` has an index.

    Written with arrays of one element, since a condition with a plain ``=`` can be hashed and merged too: PostgreSQL
    would then read the whole of a large table for a few hundred of its rows. (It still does beside another condition
    on ``table`` of which it believes that few rows meet it.)
    """
    return " AND ".join(f"{table}.{column} = ANY (ARRAY[{by}.{column}])" for column in columns)


GIVEN_IN_ACCOUNT = f"{GIVEN_ACCOUNTS} ON {looked_up('account', 'workspace_id', 'account_id')}"
"""The accounts asked for, to be joined to the projection."""


def key_of(event: AccountEvent) -> Key:
    return event.workspace, event.account_id


def arrays(keys: Iterable[Key]) -> dict[str, Sequence[object]]:
    """The parameters of ``GIVEN_ACCOUNTS``, sorted, so that rows are locked in one order by everybody."""
    ordered = sorted(set(keys))
    return {"workspaces": [workspace for workspace, _ in ordered], "accounts": [account for _, account in ordered]}
