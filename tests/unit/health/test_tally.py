"""What a hostile client can put into an event stays within what the tables and their indexes can hold."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from libs.common.events import TelemetryKind, TelemetryReceived
from services.health.domain import Activity
from services.health.tally import LONGEST_EMAIL, tally

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(("length", "kept"), [(LONGEST_EMAIL, 1), (LONGEST_EMAIL + 1, 0), (6000, 0)])
def test_an_address_that_is_none_is_not_kept(length: int, kept: int) -> None:
    email = "@x.example".rjust(length, "a")
    event = TelemetryReceived(
        workspace=1,
        id="1",
        source=1,
        kind=TelemetryKind.IDENTIFY,
        event="$identify",
        user_id="ada",
        traits=msgspec.Raw(msgspec.json.encode({"email": email})),
        occurred_at=NOW,
        received_at=NOW,
    )
    assert len(tally([event], {}, Activity()).emails) == kept
