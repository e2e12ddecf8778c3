"""The projection of accounts, and the findings that wait for a version of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, cast

from libs.common.db import AsyncConnection, text
from libs.common.events import AccountChanged, decode, encode
from services.playbook.domain.accounts import Account
from services.playbook.domain.runs import Finding
from services.playbook.store.keys import GIVEN_ACCOUNTS, GIVEN_IN_ACCOUNT, Key, arrays, key_of, looked_up

_ACCOUNT = (
    "account.workspace_id, account.account_id, CAST(snapshot AS text) AS snapshot, last_green_version, "
    "last_active_version"
)


async def merge_accounts(connection: AsyncConnection, accounts: Collection[Account]) -> None:
    """Add what these accounts say, each account at most once, as ``Account.merged`` does."""
    ordered = sorted(accounts, key=lambda account: key_of(account.snapshot))
    await connection.execute(
        text(
            """
            INSERT INTO account AS known
                (workspace_id, account_id, version, snapshot, last_green_version, last_active_version)
            SELECT workspace_id, account_id, version, CAST(snapshot AS jsonb), last_green, last_active
            FROM unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[]), CAST(:versions AS bigint[]),
                        CAST(:snapshots AS text[]), CAST(:greens AS bigint[]), CAST(:actives AS bigint[]))
                 AS given (workspace_id, account_id, version, snapshot, last_green, last_active)
            ON CONFLICT (workspace_id, account_id) DO UPDATE SET
                version = greatest(known.version, excluded.version),
                snapshot = CASE WHEN excluded.version > known.version THEN excluded.snapshot ELSE known.snapshot END,
                last_green_version = greatest(known.last_green_version, excluded.last_green_version),
                last_active_version = greatest(known.last_active_version, excluded.last_active_version)
            """
        ),
        {
            "workspaces": [account.snapshot.workspace for account in ordered],
            "accounts": [account.snapshot.account_id for account in ordered],
            "versions": [account.snapshot.version for account in ordered],
            "snapshots": [encode(account.snapshot).decode() for account in ordered],
            "greens": [account.last_green_version for account in ordered],
            "actives": [account.last_active_version for account in ordered],
        },
    )


async def lock_accounts(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Account]:
    """Those of the accounts that are known, locked until the transaction ends, in the order of ``merge_accounts``."""
    rows = await connection.execute(
        text(
            f"SELECT {_ACCOUNT} FROM account JOIN {GIVEN_IN_ACCOUNT} "
            'ORDER BY account.workspace_id, account.account_id COLLATE "C" FOR UPDATE OF account'
        ),
        arrays(keys),
    )
    return {(row.workspace_id, row.account_id): _account(row) for row in rows}


async def take_account(connection: AsyncConnection, key: Key) -> Account | None:
    """The account, locked; None while a decision about it is being made."""
    rows = await connection.execute(
        text(f"SELECT {_ACCOUNT} FROM account JOIN {GIVEN_IN_ACCOUNT} FOR UPDATE OF account SKIP LOCKED"), arrays([key])
    )
    row = rows.one_or_none()
    return None if row is None else _account(row)


def _account(row: Any) -> Account:
    snapshot = cast(AccountChanged, decode(row.snapshot.encode()))
    return Account(snapshot, row.last_green_version, row.last_active_version)


async def load_waiting(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, list[Finding]]:
    rows = await connection.execute(
        text(
            f"SELECT given.*, CAST(finding AS text) AS finding FROM waiting_finding JOIN {GIVEN_ACCOUNTS} "
            f"ON {looked_up('waiting_finding', 'workspace_id', 'account_id')} ORDER BY finding_id"
        ),
        arrays(keys),
    )
    found = defaultdict(list)
    for row in rows:
        found[row.workspace_id, row.account_id].append(cast(Finding, decode(row.finding.encode())))
    return found


async def keep_waiting(connection: AsyncConnection, findings: Sequence[Finding]) -> None:
    await connection.execute(
        text(
            "INSERT INTO waiting_finding (workspace_id, account_id, finding_id, finding) "
            "SELECT workspace_id, account_id, finding_id, CAST(finding AS jsonb) "
            "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[]), CAST(:ids AS text[]), "
            "CAST(:findings AS text[])) AS given (workspace_id, account_id, finding_id, finding) "
            "ON CONFLICT DO NOTHING"
        ),
        {**_findings(findings), "findings": [encode(finding).decode() for finding in findings]},
    )


async def stop_waiting(connection: AsyncConnection, findings: Sequence[Finding]) -> None:
    await connection.execute(
        text(
            "DELETE FROM waiting_finding USING unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[]), "
            "CAST(:ids AS text[])) AS given (workspace_id, account_id, finding_id) "
            f"WHERE {looked_up('waiting_finding', 'workspace_id', 'account_id', 'finding_id')}"
        ),
        _findings(findings),
    )


def _findings(findings: Sequence[Finding]) -> dict[str, Sequence[object]]:
    return {
        "workspaces": [finding.workspace for finding in findings],
        "accounts": [finding.account_id for finding in findings],
        "ids": [finding.id for finding in findings],
    }
