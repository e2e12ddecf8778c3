"""Secrets may be files; what is wrong with one is a sentence that names it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.database_urls import owner_database_url, with_password
from libs.common.errors import NotStarted
from libs.common.settings import load
from services.notify.settings import NotifySettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KIZASHI_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("KIZASHI_DATABASE_URL", "postgresql://kizashi@postgres:5432/kizashi")
    return tmp_path


def test_a_file_is_as_good_as_a_variable(folder: Path) -> None:
    (folder / "kizashi_notify_slack_bot_token").write_text("xoxb-1\n")
    (folder / "KIZASHI_NOTIFY_SMTP_PASSWORD").write_text(" geheim ")
    (folder / "postgres_password").write_text("of another program")
    settings = load(NotifySettings, "notify")
    assert settings.notify_slack_bot_token is not None
    assert settings.notify_smtp_password is not None
    assert settings.notify_slack_bot_token.get_secret_value() == "xoxb-1"
    assert settings.notify_smtp_password.get_secret_value() == "geheim"


def test_an_empty_file_is_none(folder: Path) -> None:
    (folder / "kizashi_notify_slack_bot_token").write_text("\n")
    assert load(NotifySettings, "notify").notify_slack_bot_token is None


def test_the_database_password_goes_into_the_address(folder: Path) -> None:
    (folder / "kizashi_database_password").write_text("a:b@c/d")
    settings = load(NotifySettings, "notify")
    assert settings.database_url.get_secret_value() == "postgresql://kizashi:a%3Ab%40c%2Fd@postgres:5432/kizashi"
    assert settings.event_log_url == settings.database_url.get_secret_value()


def test_a_database_password_beside_another_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "kizashi_database_password").write_text("one")
    monkeypatch.setenv("KIZASHI_DATABASE_URL", "postgresql://kizashi:other@postgres/kizashi")
    with pytest.raises(NotStarted, match="KIZASHI_DATABASE_URL is not valid: Value error, must begin with postgres"):
        load(NotifySettings, "notify")


@pytest.mark.parametrize("url", ["postgresql://host/db", "postgresql:///db", "postgresql://u:p@host/db"])
def test_a_password_needs_a_user_without_one(url: str) -> None:
    with pytest.raises(ValueError, match="without a password"):
        with_password(url, "p")


def test_a_socket_is_an_address_too() -> None:
    assert with_password("postgresql://kizashi@/k?host=%2Frun", "p") == "postgresql://kizashi:p@/k?host=%2Frun"


def test_a_misspelt_file_is_named(folder: Path) -> None:
    (folder / "kizashi_databse_password").write_text("x")
    with pytest.raises(NotStarted, match="KIZASHI_DATABSE_PASSWORD is not a setting of Kizashi"):
        load(NotifySettings, "notify")


def test_a_file_and_a_variable_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "kizashi_notify_slack_bot_token").write_text("xoxb-1")
    monkeypatch.setenv("KIZASHI_NOTIFY_SLACK_BOT_TOKEN", "xoxb-2")
    with pytest.raises(NotStarted, match="KIZASHI_NOTIFY_SLACK_BOT_TOKEN is given twice"):
        load(NotifySettings, "notify")


def test_a_folder_in_place_of_a_file_is_told(folder: Path) -> None:
    """What Docker makes of a file that is not there."""
    (folder / "kizashi_database_password").mkdir()
    with pytest.raises(NotStarted, match="kizashi_database_password cannot be read \\(Is a directory\\)"):
        load(NotifySettings, "notify")


def test_bytes_are_told(folder: Path) -> None:
    (folder / "kizashi_database_password").write_bytes(b"\xff\xfe")
    with pytest.raises(NotStarted, match="cannot be read \\(it is not UTF-8\\)"):
        load(NotifySettings, "notify")


def test_a_folder_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_SECRETS_DIR", str(folder / "nowhere"))
    with pytest.raises(
        NotStarted, match="nowhere cannot be read \\(No such file or directory\\); mount it, or correct"
    ):
        load(NotifySettings, "notify")


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A file that we may not read, in a folder that we may; root, who may read everything, is nobody meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "kizashi_database_password"
        file.touch(mode=0o000)
        we = os.geteuid()
        if we == 0:
            os.seteuid(65534)
        yield file
        os.seteuid(we)


def test_a_file_that_may_not_be_read_is_told(forbidden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_SECRETS_DIR", str(forbidden.parent))
    with pytest.raises(NotStarted, match="kizashi_database_password cannot be read \\(Permission denied\\); let it be"):
        load(NotifySettings, "notify")


def test_the_owner_has_a_password_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_OWNER_DATABASE_URL", "postgresql://postgres@postgres/kizashi")
    (folder / "kizashi_owner_database_password").write_text("own")
    assert owner_database_url() == "postgresql://postgres:own@postgres/kizashi"


def test_an_owner_with_two_passwords_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_OWNER_DATABASE_URL", "postgresql://postgres:a@postgres/kizashi")
    (folder / "kizashi_owner_database_password").write_text("own")
    with pytest.raises(NotStarted, match="KIZASHI_OWNER_DATABASE_URL must begin with postgresql://user@"):
        owner_database_url()


def test_no_owner_is_told() -> None:
    with pytest.raises(NotStarted, match="KIZASHI_OWNER_DATABASE_URL is not set"):
        owner_database_url()
