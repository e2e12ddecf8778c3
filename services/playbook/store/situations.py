"""What decisions about accounts depend on, loaded together."""

from __future__ import annotations

from collections.abc import Collection

from libs.common.db import AsyncConnection
from services.playbook.domain.runs import Situation
from services.playbook.store import accounts, runs
from services.playbook.store.keys import Key


async def load_situations(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Situation]:
    """One situation for each key. Open runs are locked first and stay so until the transaction ends: no step is done
    of a run that is about to end, and what has just been done of it is seen."""
    open_runs = await runs.lock_open_runs(connection, keys)
    past_runs = await runs.load_past_runs(connection, keys)
    known = await accounts.load_accounts(connection, keys)
    waiting = await accounts.load_waiting(connection, keys)
    return {
        key: Situation(
            account=known.get(key),
            open_runs=tuple(open_runs.get(key, ())),
            past_runs=tuple(past_runs.get(key, ())),
            waiting=tuple(waiting.get(key, ())),
        )
        for key in keys
    }
