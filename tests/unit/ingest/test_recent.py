"""What people are shown of the last events: bounded whatever comes, and cheap when nobody could read it anyway."""

from __future__ import annotations

import gc
import re
import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common.clock import WallClock
from libs.common.error_answers import BodyTooLarge
from libs.common.errors import Refused, RetryLater
from services.ingest.domain.acceptance import Limits, Outcome
from services.ingest.domain.findings import findings
from services.ingest.domain.recent import KEPT, ORIGINAL_BYTES, RecentEvent, RecentReject
from services.ingest.domain.remedies import remedy
from services.ingest.pressure import NotNow
from services.ingest.recent import HELD_ROWS, Recent, Rows
from services.ingest.store import recent as store
from services.ingest.write_keys import KeyOwner
from tests.unit.ingest.conftest import NOW, Accept, arrival

ROOT = Path(__file__).parents[3]
OWNER = KeyOwner(workspace=1, source=7, key_id="k")
EVERYTHING = 1_000_000


@pytest.fixture
def recent() -> Recent:
    return Recent(WallClock())


def track(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "e", "userId": "u", "messageId": f"m{number}", **more}


def note(recent: Recent, outcome: Outcome, owner: KeyOwner = OWNER, body_bytes: int = 300) -> None:
    recent.decided(owner, outcome, arrival(), strict=False, body_bytes=body_bytes)


def rows_of(recent: Recent, owner: KeyOwner = OWNER) -> Rows:
    return recent.take(EVERYTHING)[owner.workspace, owner.source]


@pytest.mark.parametrize("portions", [[1] * 130, [250], [60, 60, 60], [99, 1], [1, 2500, 1], [100, 100]])
def test_the_last_hundred_are_kept_however_they_came(recent: Recent, take: Accept, portions: list[int]) -> None:
    sent = 0
    for size in portions:
        note(recent, take(*(track(sent + number) for number in range(size))))
        sent += size
    kept = [event.message_id for event in rows_of(recent).events]
    assert kept == [f"m{number}" for number in range(max(0, sent - KEPT), sent)]
    assert recent.take(EVERYTHING) == {}


def test_bodies_are_let_go_before_they_are_many(recent: Recent, take: Accept) -> None:
    """Each source may refer to a hundred events of 60 KB."""
    long = "x" * 60_000
    gc.collect()
    tracemalloc.start()
    for number in range(2000):
        owner = KeyOwner(workspace=1, source=number % 20, key_id="k")
        note(recent, take(track(number, properties={"long": long})), owner, body_bytes=60_000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000_000
    assert sum(len(rows.events) for rows in recent.take(EVERYTHING).values()) == 20 * KEPT


def test_ten_thousand_rejects_leave_a_hundred_small_rows(recent: Recent, take: Accept) -> None:
    outcome = take({"type": "track", "userId": "u", "properties": {"long": "x" * 50_000}})
    gc.collect()
    tracemalloc.start()
    for _ in range(10_000):
        note(recent, outcome, body_bytes=50_000)
    rows = rows_of(recent)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2_000_000
    assert len(rows.rejects) == KEPT
    assert {(len(reject.original), reject.original_bytes > 50_000) for reject in rows.rejects} == {
        (ORIGINAL_BYTES, True)
    }


def test_ten_thousand_refusals_are_one_row(recent: Recent) -> None:
    for _ in range(10_000):
        recent.refused(OWNER, Refused(429, "over_quota", "Too many."))
    recent.refused(OWNER, BodyTooLarge(1024))
    recent.refused(OWNER, Refused(400, "not_json", "No.\0"), body=b"x" * 9000)
    recent.refused(OWNER, NotNow("log_unavailable", "Not now.", 5))
    recent.refused(OWNER, RetryLater("gone"))
    rejects = rows_of(recent).rejects
    assert {(reject.status, reject.code): reject.times for reject in rejects} == {
        (429, "over_quota"): 10_000,
        (413, "body_too_large"): 1,
        (400, "not_json"): 1,
        (503, "log_unavailable"): 1,
        (503, "unavailable"): 1,
    }
    not_json = next(reject for reject in rejects if reject.code == "not_json")
    assert (not_json.message, len(not_json.original), not_json.original_bytes) == ("No.", ORIGINAL_BYTES, 9000)


def test_what_lies_beyond_the_limit_is_one_row(recent: Recent, take: Accept) -> None:
    note(recent, take(*(track(number) for number in range(9)), limits=Limits(events=4)))
    rows = rows_of(recent)
    assert [event.message_id for event in rows.events] == ["m0", "m1", "m2", "m3"]
    assert [(reject.code, reject.index, reject.times) for reject in rows.rejects] == [("too_many_events", 4, 5)]


def test_what_could_not_be_written_comes_first_and_stays_bounded(recent: Recent, take: Accept) -> None:
    note(recent, take(*(track(number) for number in range(60))))
    recent.refused(OWNER, Refused(429, "over_quota", "Too many."))
    first = recent.take(EVERYTHING)
    note(recent, take(*(track(number) for number in range(60, 120)), {"type": "none"}))
    recent.refused(OWNER, Refused(429, "over_quota", "Too many."))
    recent.put_back(first)
    rows = rows_of(recent)
    assert [event.message_id for event in rows.events] == [f"m{number}" for number in range(20, 120)]
    assert sorted((reject.code, reject.times) for reject in rows.rejects) == [("over_quota", 2), ("unknown_type", 1)]


def test_while_nobody_writes_the_oldest_sources_are_given_up(recent: Recent, take: Accept) -> None:
    full = take(*(track(number) for number in range(KEPT)))
    sources = HELD_ROWS // KEPT + 50
    for source in range(sources):
        note(recent, full, KeyOwner(workspace=1, source=source, key_id="k"))
    rows = recent.take(EVERYTHING)
    assert sum(map(len, rows.values())) <= HELD_ROWS
    assert [source for _, source in rows] == list(range(50, sources))


def test_sources_are_written_in_turn(recent: Recent, take: Accept) -> None:
    for source in range(5):
        note(recent, take(*(track(number) for number in range(40))), KeyOwner(workspace=1, source=source, key_id="k"))
    assert [source for _, source in recent.take(100)] == [0, 1, 2]
    assert [source for _, source in recent.take(100)] == [3, 4]


def test_a_made_message_id_is_told_apart(recent: Recent, take: Accept) -> None:
    note(recent, take())
    assert recent.take(EVERYTHING) == {}, "an empty batch is nothing to write"
    note(recent, take(track(1), {"type": "track", "event": "e", "userId": "u"}))
    assert [event.message_id_sent for event in rows_of(recent).events] == [True, False]


@pytest.mark.parametrize(("table", "row"), [("recent_event", RecentEvent), ("recent_reject", RecentReject)])
def test_every_field_has_its_column(table: str, row: type) -> None:
    assert list(store.COLUMNS[table]) == list(row.__struct_fields__)  # type: ignore[attr-defined]


# --- what to do ---


def test_there_is_something_to_do_about_everything_that_is_refused() -> None:
    files = [file for file in (ROOT / "services" / "ingest").glob("*.py") if file.name != "write_keys.py"]
    files += (ROOT / "services" / "ingest" / "domain").glob("*.py")
    pattern = r'(?:InvalidEvent\(|Refused\(\s*4\d\d,|NotNow\(|OverQuota\(\s*429,)\s*"([a-z_]+)"'
    codes = {code for file in files for code in re.findall(pattern, file.read_text())}
    assert {"missing_user", "not_json", "strict_mode", "log_unavailable"} <= codes
    codes |= {"invalid_user_id", "event_too_long", "too_many_events", "body_too_large", "request_timeout", "busy"}
    assert sorted(code for code in codes if not remedy(code)) == []


def seen(**fields: Any) -> RecentEvent:
    usual: dict[str, Any] = {
        "workspace_id": 1,
        "source_id": 7,
        "key_id": "k",
        "noted_at": NOW,
        "received_at": NOW,
        "occurred_at": NOW,
        "message_id": "m",
        "message_id_sent": True,
        "kind": "track",
        "event": "e",
        "user_id": "u",
        "anonymous_id": None,
        "account_id": "acme",
        "account_rule": "groupId",
        "flags": (),
        "historical": False,
        "strict": False,
    }
    return RecentEvent(**{**usual, **fields})


def refused(
    code: str = "missing_event", *, at: datetime = NOW, times: int = 1, status: int | None = None
) -> RecentReject:
    return RecentReject(
        workspace_id=1,
        source_id=7,
        key_id="k",
        noted_at=at,
        received_at=at,
        status=status,
        code=code,
        message=f"It is {code}.",
        times=times,
        historical=False,
        strict=False,
    )


def found(events: list[RecentEvent], rejects: list[RecentReject] | None = None, now: datetime = NOW) -> dict[str, str]:
    return {one.code: f"{one.sentence} {one.remedy}" for one in findings(events, rejects or [], now)}


LOST = {"account_id": None, "account_rule": None}


def test_nothing_is_said_of_a_source_that_is_well_connected() -> None:
    grouped = seen(kind="group", user_id="v")
    assert found([seen(), grouped, seen(user_id="v", **LOST), seen(kind="identify", **LOST)]) == {}


def test_events_without_account_are_counted_and_the_fix_spelt_out() -> None:
    said = found([seen(**LOST)] * 41 + [seen()] * 59)
    assert set(said) == {"no_account"}
    assert said["no_account"].startswith("41 of the last 100 track, page and screen calls name no account")
    assert "group(userId, accountId)" in said["no_account"]
    assert "account_id" in said["no_account"]
    assert "made one earlier" in said["no_account"], "a group call may have come before what is kept"


def test_a_few_events_without_account_are_nothing() -> None:
    assert found([seen(**LOST)] * 9 + [seen()] * 91) == {}


def test_wrong_clocks_are_said_when_all_are_wrong() -> None:
    wrong = [seen(flags=("skew_corrected",)), seen(flags=("timestamp_in_future",))]
    assert set(found(wrong)) == {"clocks"}
    assert found([*wrong, *[seen()] * 9]) == {}


@pytest.mark.parametrize(
    ("flag", "code"), [("timestamp_unreadable", "timestamps"), ("timestamp_in_future", "future_timestamps")]
)
def test_replaced_times_are_said_from_a_tenth_on(flag: str, code: str) -> None:
    said = found([seen(flags=(flag,)), *[seen()] * 9])
    assert set(said) == {code}
    assert "of 1 of the last 10 live events" in said[code]
    assert found([seen(flags=(flag,)), *[seen()] * 10]) == {}


def test_of_history_every_time_that_was_replaced_is_said() -> None:
    past = seen(historical=True)
    said = found(
        [
            seen(historical=True, flags=("timestamp_missing",)),
            *[seen(historical=True, flags=("timestamp_unreadable",))] * 2,
            seen(historical=True, flags=("timestamp_in_future",)),
            *[past] * 50,
            *[seen(flags=("timestamp_missing",))] * 20,
        ]
    )
    assert set(said) == {"history_times"}, "a live event without timestamp happened when it came"
    assert said["history_times"].startswith(
        "4 of the last 54 events of history have the time of their arrival: 1 without timestamp, 2 with one that "
        "cannot be read, 1 with one in the future."
    )
    assert found([past] * 3) == {}


def test_only_rejects_are_said_with_the_commonest_reason() -> None:
    said = found([], [refused(), refused(), refused("missing_user")])
    assert set(said) == {"only_rejected"}
    assert "3 events or requests were refused, mostly as missing_event" in said["only_rejected"]
    since = found([seen(received_at=NOW - timedelta(hours=1))], [refused("not_json", times=1200)])
    assert "Nothing was taken since 2026-03-02 11:00 UTC, and 1,200" in since["only_rejected"]
    assert set(found([seen()] * 5, [refused(at=NOW + timedelta(seconds=1))])) == {"some_rejected"}


def test_what_is_refused_beside_what_is_taken_is_said() -> None:
    minutes_ago = [NOW - timedelta(minutes=number) for number in range(34)]
    taken = [seen(received_at=at) for at in minutes_ago]
    said = found(taken, [refused(at=at) for at in minutes_ago[3:14]] + [refused("not_json", at=minutes_ago[20])])
    assert set(said) == {"some_rejected"}
    assert said["some_rejected"].startswith(
        "Since 2026-03-02 11:27 UTC 34 events were taken, and 12 events or requests were refused, the last on "
        "2026-03-02 11:57 UTC, mostly as missing_event: It is missing_event. Name what happened"
    )


def test_no_refusal_is_said_that_is_over_or_costs_nothing() -> None:
    earlier = NOW - timedelta(hours=1)
    taken = [seen(), seen(received_at=earlier)]
    assert found(taken, [refused(at=earlier - timedelta(seconds=1))]) == {}, "what was taken then is not known"
    assert found(taken, [refused("over_quota", at=earlier, status=429), refused("busy", at=earlier, status=503)]) == {}
    since = NOW - timedelta(days=1)
    assert found([seen(), seen(received_at=since - timedelta(1))], [refused(at=since - timedelta(seconds=1))]) == {}


def test_silence_is_said_after_two_days() -> None:
    assert "since 2026-03-02 12:00 UTC, 3 days ago" in found([seen()], now=NOW + timedelta(days=3))["silent"]
    assert found([seen()], now=NOW + timedelta(days=2)) == {}
    assert set(found([])) == {"nothing_arrived"}


def test_missing_message_ids_are_said_when_none_is_sent() -> None:
    assert set(found([seen(message_id_sent=False)])) == {"no_message_id"}
    assert found([seen(message_id_sent=False), seen()]) == {}
