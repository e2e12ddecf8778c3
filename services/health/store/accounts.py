"""Accounts and the history of their scores, as the score worker writes them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from libs.common.db import AsyncConnection, text
from services.health.conclusion import Comparison, Conclusion, Remembered, Snapshot
from services.health.domain import Assessment, Scorecard, Standing, day_of
from services.health.store.schedule import AccountKey

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Known:
    """An account's row. ``activity_digest`` names the rules by which its people were counted, ``headline`` what a
    reader of its history would see."""

    remembered: Remembered
    activity_digest: bytes
    headline: tuple[float | None, str | None, str, str]


async def find(connection: AsyncConnection, key: AccountKey) -> Known | None:
    row = (
        await connection.execute(
            text(
                "SELECT as_of, silence_judged_at, CAST(standing AS text) AS standing, CAST(told AS text) AS told, "
                "told_at, version, band_changes, silences, activity_digest, score, band, segment, stage "
                "FROM account WHERE workspace_id = :workspace AND account_id = :account"
            ),
            key._asdict(),
        )
    ).one_or_none()
    if row is None:
        return None
    return Known(
        remembered=Remembered(
            as_of=row.as_of,
            silence_judged_at=row.silence_judged_at,
            standing=msgspec.json.decode(row.standing, type=Standing),
            told=msgspec.json.decode(row.told, type=Snapshot),
            told_at=row.told_at,
            version=row.version,
            band_changes=row.band_changes,
            silences=row.silences,
        ),
        activity_digest=row.activity_digest,
        headline=(row.score, row.band, row.segment, row.stage),
    )


async def save(
    connection: AsyncConnection,
    key: AccountKey,
    known: Known | None,
    assessment: Assessment,
    conclusion: Conclusion,
    activity_digest: bytes,
) -> None:
    """Write the account, and a row of history when a reader would see a difference or a new day has begun."""
    remembered, snapshot, card = conclusion.remembered, conclusion.snapshot, assessment.scorecard
    row = {
        **key._asdict(),
        **{name: value for name, value in msgspec.structs.asdict(snapshot).items() if name != "silent"},
        "silent_since": remembered.standing.silence.since,
        "last_activity_at": assessment.last_activity_at,
        "as_of": remembered.as_of,
        "silence_judged_at": remembered.silence_judged_at,
        "scorecard": _encode(card).decode(),
        "standing": _encode(remembered.standing).decode(),
        "trend": list(assessment.trend),
        "activity_digest": activity_digest,
        "version": remembered.version,
        "band_changes": remembered.band_changes,
        "silences": remembered.silences,
        "told": _encode(remembered.told).decode(),
        "told_at": remembered.told_at,
    }
    columns = [name for name in row if name not in ("workspace", "account")]
    values = [
        f"CAST(:{name} AS jsonb)" if name in ("scorecard", "standing", "told") else f":{name}" for name in columns
    ]
    await connection.execute(
        text(
            f"INSERT INTO account (workspace_id, account_id, scored_at, {', '.join(columns)}) "
            f"VALUES (:workspace, :account, clock_timestamp(), {', '.join(values)}) "
            "ON CONFLICT (workspace_id, account_id) DO UPDATE SET scored_at = excluded.scored_at, "
            + ", ".join(f"{name} = excluded.{name}" for name in columns)
        ),
        row,
    )
    headline = (snapshot.score, snapshot.band, snapshot.segment, snapshot.stage)
    if known is None or known.headline != headline or day_of(known.remembered.as_of) != day_of(remembered.as_of):
        await connection.execute(
            text(
                "INSERT INTO score_history (workspace_id, account_id, as_of, score, band, segment, stage, scorecard) "
                "VALUES (:workspace, :account, :as_of, :score, :band, :segment, :stage, CAST(:scorecard AS jsonb)) "
                "ON CONFLICT (workspace_id, account_id, as_of) DO UPDATE SET known_at = clock_timestamp(), "
                "score = excluded.score, band = excluded.band, segment = excluded.segment, stage = excluded.stage, "
                "scorecard = excluded.scorecard"
            ),
            {name: row[name] for name in (*key._asdict(), "as_of", "score", "band", "segment", "stage", "scorecard")},
        )


async def scorecard_for(connection: AsyncConnection, key: AccountKey, wanted: Comparison) -> Scorecard | None:
    """Of equally far ones the latest; None when there is none."""
    row = (
        await connection.execute(
            text(
                "SELECT CAST(scorecard AS text) AS scorecard FROM score_history "
                "WHERE workspace_id = :workspace AND account_id = :account AND as_of >= :since "
                "AND scorecard ->> 'fingerprint' = :fingerprint "
                "AND (band = :band OR CAST(:band AS text) IS NULL) AND (score - :score) * :direction > 0 "
                "ORDER BY (score - :score) * :direction DESC, as_of DESC LIMIT 1"
            ),
            {
                **key._asdict(),
                "fingerprint": wanted.fingerprint,
                "since": wanted.since,
                "band": wanted.band,
                "score": wanted.score,
                "direction": 1 if wanted.worse else -1,
            },
        )
    ).one_or_none()
    return msgspec.json.decode(row.scorecard, type=Scorecard) if row else None
