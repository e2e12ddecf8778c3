"""Write keys do not stand in what is kept of a refusal, and nothing else is changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import WallClock
from libs.common.errors import Refused
from services.ingest.domain.originals import without_write_key
from services.ingest.domain.recent import ORIGINAL_BYTES
from services.ingest.recent import Recent
from tests.unit.ingest.test_recent import EVERYTHING, OWNER

KEY = "kzw_0123456789ab_" + "0" * 32


@pytest.mark.parametrize(
    ("original", "kept"),
    [
        (f'{{"writeKey":"{KEY}","event":"e"}}', '{"writeKey":"…","event":"e"}'),
        (f'{{ "writeKey"\n:\t"{KEY}" , "batch" : 3}}', '{ "writeKey"\n:\t"…" , "batch" : 3}'),
        (f'[{{"writeKey":"{KEY}"}},{{"writeKey":"other"}}]', '[{"writeKey":"…"},{"writeKey":"…"}]'),
        (f'{{"writeKey":"{KEY}","batch":[', '{"writeKey":"…","batch":['),
        (f'{{"writeKey":"{KEY[:20]}', '{"writeKey":"…'),
        ('{"writeKey":"a\\"b\\\\","x":1}', '{"writeKey":"…","x":1}'),
        *((same, same) for same in ("", '{"writeKey":""}', '{"writeKey":5}', '{"a":"writeKey","b":"c"}', '{"x":"y"}')),
    ],
)
def test_the_value_of_a_write_key_is_blanked_and_nothing_else(original: str, kept: str) -> None:
    assert without_write_key(original.encode()).decode() == kept


@given(st.dictionaries(st.text() | st.just("writeKey"), st.text(min_size=1), max_size=4), st.booleans())
def test_what_was_json_stays_it(event: dict[str, str], ascii_only: bool) -> None:
    kept = json.loads(without_write_key(json.dumps(event, ensure_ascii=ascii_only).encode()))
    assert kept == event | ({"writeKey": "…"} if "writeKey" in event else {})


def test_a_key_at_the_cut_is_not_kept_in_part() -> None:
    """The end of its string is not there any more."""
    recent = Recent(WallClock())
    name = b'"writeKey":"'
    long = b'{"x":"' + b"x" * (ORIGINAL_BYTES - len(name) - 26) + b'",' + name + KEY.encode() + b'"}'
    assert KEY[:17].encode() in long[:ORIGINAL_BYTES]
    assert KEY.encode() not in long[:ORIGINAL_BYTES]
    recent.refused(OWNER, Refused(400, "not_json", "No."), body=long)
    (reject,) = recent.take(EVERYTHING)[OWNER.workspace, OWNER.source].rejects
    assert reject.original.endswith(name + "…".encode())
    assert reject.original_bytes == len(long)
