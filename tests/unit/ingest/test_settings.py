"""Ingest's environment variables, as a person writes them."""

from __future__ import annotations

import pytest

from libs.common.errors import NotStarted
from libs.common.settings import load
from services.ingest.settings import IngestSettings


@pytest.fixture(autouse=True)
def _database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_DATABASE_URL", "postgresql://u@localhost/d")


def test_names_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_INGEST_ACCOUNT_PROPERTIES", "tenant, customer_id,")
    monkeypatch.setenv("KIZASHI_INGEST_ACCOUNT_GROUPS", "")
    names = load(IngestSettings, "ingest").account_names()
    assert (names.properties, names.groups) == (("tenant", "customer_id"), ())


def test_what_is_held_must_have_room_for_one_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_INGEST_IN_FLIGHT_LIMIT_BYTES", "5000000")
    with pytest.raises(NotStarted) as problem:
        load(IngestSettings, "ingest")
    assert str(problem.value).startswith("KIZASHI_INGEST_IN_FLIGHT_LIMIT_BYTES is not valid")
