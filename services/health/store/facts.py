"""Facts as telemetry handlers write them: at user level, merged, one statement per table whatever the batch's size.

Rows are written in the order of their keys, so that two batches never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from libs.common.db import AsyncConnection, text
from services.health.tally import CallKey, KeptOccurrence, OccurrenceKey, Span, Tally, TraitKey, UsageKey

_WIDER = "first_at = least(t.first_at, excluded.first_at), last_at = greatest(t.last_at, excluded.last_at)"


async def write(connection: AsyncConnection, counted: Tally) -> None:
    """Add what a batch says to what is known. Requests are written by `store.requests`."""
    await _sources(connection, counted.sources)
    await _usage(connection, counted.usage)
    await _traits(connection, "user_trait", "user_key", counted.user_traits)
    await _traits(connection, "account_trait", "account_id", counted.account_traits)
    await _emails(connection, counted)
    await _calls(connection, "group_call", "account_id", counted.group_calls)
    await _calls(connection, "identity_link", "person_key", counted.links)
    await _occurrences(connection, counted.occurrences)


async def _sources(connection: AsyncConnection, sources: Iterable[tuple[int, int]]) -> None:
    await _insert(
        connection,
        "INSERT INTO source (workspace_id, source) SELECT workspace_id, source FROM {given} ORDER BY 1, 2 "
        "ON CONFLICT DO NOTHING",
        {"workspace_id": "bigint", "source": "bigint"},
        sorted(sources),
    )


async def _usage(connection: AsyncConnection, usage: Mapping[UsageKey, Span]) -> None:
    columns = {
        "workspace_id": "bigint",
        "user_key": "text",
        "event_day": "date",
        "account_id": "text",
        "event": "text",
        "source": "bigint",
        "arrival_day": "date",
        "n": "bigint",
        "first_at": "timestamptz",
        "last_at": "timestamptz",
    }
    await _insert(
        connection,
        f"INSERT INTO usage AS t ({', '.join(columns)}) SELECT * FROM {{given}} "
        "ON CONFLICT (workspace_id, user_key, event_day, account_id, event, source, arrival_day) "
        f"DO UPDATE SET n = t.n + excluded.n, {_WIDER}",
        columns,
        [(*key, span.n, span.first_at, span.last_at) for key, span in sorted(usage.items(), key=lambda row: row[0])],
    )


async def _traits(
    connection: AsyncConnection, table: str, owner: str, traits: Mapping[TraitKey, tuple[bytes, Span]]
) -> None:
    columns = {
        "workspace_id": "bigint",
        owner: "text",
        "source": "bigint",
        "digest": "bytea",
        "event_day": "date",
        "arrival_day": "date",
        "traits": "jsonb",
        "first_at": "timestamptz",
        "last_at": "timestamptz",
    }
    await _insert(
        connection,
        f"INSERT INTO {table} AS t ({', '.join(columns)}) SELECT * FROM {{given}} "
        f"ON CONFLICT (workspace_id, {owner}, source, digest, event_day, arrival_day) DO UPDATE SET {_WIDER}",
        columns,
        [
            (*key, written.decode(), span.first_at, span.last_at)
            for key, (written, span) in sorted(traits.items(), key=lambda row: row[0])
        ],
    )


async def _emails(connection: AsyncConnection, counted: Tally) -> None:
    columns = {"workspace_id": "bigint", "user_key": "text", "email": "text"}
    await _insert(
        connection,
        f"INSERT INTO user_email ({', '.join(columns)}) SELECT * FROM {{given}} ON CONFLICT DO NOTHING",
        columns,
        sorted(counted.emails),
    )


async def _calls(connection: AsyncConnection, table: str, target: str, calls: Mapping[CallKey, Span]) -> None:
    columns = {
        "workspace_id": "bigint",
        "user_key": "text",
        target: "text",
        "event_day": "date",
        "arrival_day": "date",
        "first_at": "timestamptz",
        "last_at": "timestamptz",
    }
    await _insert(
        connection,
        f"INSERT INTO {table} AS t ({', '.join(columns)}) SELECT * FROM {{given}} "
        f"ON CONFLICT (workspace_id, user_key, {target}, event_day, arrival_day) DO UPDATE SET {_WIDER}",
        columns,
        [(*key, span.first_at, span.last_at) for key, span in sorted(calls.items(), key=lambda row: row[0])],
    )


async def _occurrences(connection: AsyncConnection, kept: Mapping[OccurrenceKey, KeptOccurrence]) -> None:
    columns = {
        "workspace_id": "bigint",
        "source": "bigint",
        "message_id": "text",
        "user_key": "text",
        "account_id": "text",
        "event": "text",
        "event_day": "date",
        "at": "timestamptz",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "properties": "jsonb",
    }
    await _insert(
        connection,
        f"INSERT INTO occurrence ({', '.join(columns)}) SELECT * FROM {{given}} ON CONFLICT DO NOTHING",
        columns,
        [
            (
                *key,
                one.user_key,
                one.account,
                one.event,
                one.event_day,
                one.at,
                one.occurred_at,
                one.received_at,
                one.properties.decode(),
            )
            for key, one in sorted(kept.items(), key=lambda row: row[0])
        ],
    )


async def _insert(
    connection: AsyncConnection, statement: str, columns: Mapping[str, str], rows: Sequence[Sequence[object]]
) -> None:
    """Run ``statement`` with its ``{given}`` standing for ``rows``, in their order; nothing when there are none."""
    if not rows:
        return
    arrays = ", ".join(
        # PostgreSQL has no array of jsonb that the driver could fill, so JSON travels as text.
        f"CAST(:{name} AS {'text' if kind == 'jsonb' else kind}[])"
        for name, kind in columns.items()
    )
    fields = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in columns.items())
    given = f"(SELECT {fields} FROM unnest({arrays}) AS rows ({', '.join(columns)})) AS given"
    values = zip(*rows, strict=True)
    await connection.execute(
        text(statement.format(given=given)), {name: list(column) for name, column in zip(columns, values, strict=True)}
    )
