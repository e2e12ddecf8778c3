"""What decisions about accounts depend on, loaded together."""

from __future__ import annotations

from collections.abc import Collection

from libs.common.db import AsyncConnection
from services.playbook.domain.runs import Situation
from services.playbook.store import accounts, runs
from services.playbook.store.keys import Key


async def load_situations(
    connection: AsyncConnection, keys: Collection[Key], playbooks: Collection[str]
) -> dict[Key, Situation]:
    """One situation for each key; of ended runs, those of ``playbooks``.

    Accounts are locked first, and what they have open then; both stay so until the transaction ends. No step is done of
    a run that is about to end, what has just been done of it is seen, and so is the run that has just taken its place.
    """
    known = await accounts.lock_accounts(connection, keys)
    open_runs = await runs.lock_open_runs(connection, keys)
    last_runs = await runs.load_last_runs(connection, keys, playbooks)
    waiting = await accounts.load_waiting(connection, keys)
    return {
        key: Situation(
            account=known.get(key),
            open_runs=tuple(open_runs.get(key, ())),
            last_runs=tuple(last_runs.get(key, ())),
            waiting=tuple(waiting.get(key, ())),
        )
        for key in keys
    }
