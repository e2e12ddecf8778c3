"""What tests of ingest's rules share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from libs.common.events import TelemetryKind
from services.ingest.domain.acceptance import Arrival, Limits, Outcome, accept
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.documents import read_batch, read_single

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
Accept = Callable[..., Outcome]


def arrival(kind: TelemetryKind | None = None, historical: bool = False) -> Arrival:
    numbers = iter(range(1_000_000))
    return Arrival(
        workspace=1,
        source=7,
        kind=kind,
        historical=historical,
        received_at=NOW,
        wall_now=NOW,
        fresh_id=lambda: f"fresh-{next(numbers)}",
    )


@pytest.fixture
def take() -> Accept:
    """Accepts events (dicts, or the bytes of one) as a batch, or as the one event of a path."""

    def accepted(
        *events: dict[str, Any] | bytes,
        kind: TelemetryKind | None = None,
        limits: Limits | None = None,
        names: AccountNames | None = None,
        **around: Any,
    ) -> Outcome:
        written = [event if isinstance(event, bytes) else msgspec.json.encode(event) for event in events]
        if kind is None:
            outer = {name: value for name, value in around.items() if value is not None}
            document = read_batch(msgspec.json.encode({**outer, "batch": [msgspec.Raw(event) for event in written]}))
        else:
            document = read_single(written[0])
        return accept(document, arrival(kind), limits or Limits(), names or AccountNames())

    return accepted
