"""What doctor says about what the sources sent lately."""

from __future__ import annotations

import asyncpg

from tests.integration.cli.conftest import Doctor

EVENT = (
    "INSERT INTO ingest.recent_event (workspace_id, source_id, noted_at, received_at, occurred_at, message_id, "
    "message_id_sent, kind, event, user_id, account_id, flags, historical, strict, key_id) "
    "SELECT 1, $1, now(), now(), now(), 'm', true, $2, 'e', $3, $4, '{}', false, false, 'k' FROM generate_series(1, $5)"
)
REJECT = (
    "INSERT INTO ingest.recent_reject (workspace_id, source_id, noted_at, received_at, code, message, times, original, "
    "original_bytes, historical, strict, key_id) "
    "VALUES (1, $1, now() - make_interval(hours => $2), now(), $3, 'No.', $4, '', 0, $5, false, 'k')"
)


async def test_events_without_account_and_refusals_are_told_with_the_way_on(
    owner: asyncpg.Connection, doctor: Doctor
) -> None:
    for name in ("Web", "iOS"):
        await owner.execute("INSERT INTO ingest.source (workspace_id, name) VALUES (1, $1)", name)
    await owner.execute(
        "INSERT INTO health.group_call (workspace_id, user_key, account_id, event_day, arrival_day, first_at, last_at) "
        "VALUES (1, 'u:member', 'acme', current_date, current_date, now(), now())"
    )
    for source, kind, user, account, number in [
        (1, "track", "member", None, 30),
        (1, "track", "stranger", None, 12),
        (1, "page", "stranger", "acme", 20),
        (1, "identify", "stranger", None, 5),
        (2, "track", "member", None, 10),
    ]:
        await owner.execute(EVENT, source, kind, user, account, number)
    for source, hours, code, times, historical in [
        (1, 1, "not_json", 3, True),
        (1, 2, "not_json", 1, False),
        (1, 3, "over_quota", 1, False),
        (2, 25, "x", 9, False),
        (2, 1, "over_quota", 500, True),  # the pace of an import
    ]:
        await owner.execute(REJECT, source, hours, code, times, historical)
    seen = await doctor.look("--no-providers")
    [without] = seen.of("source_without_accounts")
    assert without.startswith(
        "Of the last 62 track, page and screen calls of the source Web (1) of One 12 name no account"
    )
    assert "`kizashi sources show 1` looks closer" in without
    assert seen.of("source_rejects") == [
        "Within a day the source Web (1) of One met with 5 refusals, mostly as not_json. "
        "`kizashi tail --source 1 --rejects` shows them, and what to do."
    ]
