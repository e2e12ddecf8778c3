""".env.example lists every variable that exists, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.apis import KEY_VARIABLE, url_variable
from cli.imports.destination import WRITE_KEY_VARIABLE
from deploy.local.settings import LocalSettings
from libs.common.database_urls import OWNER_PASSWORD, OWNER_URL
from libs.common.settings import SERVICES, CommonSettings, variable_of
from services.health.settings import HealthSettings
from services.ingest.settings import IngestSettings
from services.notify.settings import NotifySettings
from services.playbook.settings import PlaybookSettings

SETTINGS: list[type[CommonSettings]] = [IngestSettings, HealthSettings, PlaybookSettings, NotifySettings, LocalSettings]
LINES = (Path(__file__).parents[3] / ".env.example").read_text().splitlines()
LISTED = {found[1]: found[2] for line in LINES if (found := re.fullmatch(r"#?([A-Z][A-Z_]+)=(.*)", line))}


def test_every_variable_is_listed_and_no_other() -> None:
    known = {variable_of(settings, name) for settings in SETTINGS for name in settings.model_fields}
    known |= {OWNER_URL, OWNER_PASSWORD, KEY_VARIABLE, WRITE_KEY_VARIABLE, *(url_variable(name) for name in SERVICES)}
    assert set(LISTED) == known


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_the_defaults_are_the_real_ones(settings: type[CommonSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_DATABASE_URL", LISTED["KIZASHI_DATABASE_URL"])
    bare = settings()
    for name in settings.model_fields:
        if value := LISTED[variable_of(settings, name)]:
            monkeypatch.setenv(variable_of(settings, name), value)
    assert settings() == bare
