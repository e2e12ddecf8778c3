"""Mistakes in templates are found at start, with file and line."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from libs.common.errors import NotStarted
from services.notify.templates import FULL_EXAMPLE, CannotRender, Templates
from tests.unit.notify.samples import CONFIG


@pytest.fixture
def config(tmp_path: Path) -> Path:
    shutil.copytree(CONFIG / "messages", tmp_path / "messages")
    return tmp_path


def test_the_templates_that_we_ship_are_whole() -> None:
    Templates(CONFIG)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("Hello\n{{ acount_name }}\n", r"usage-decline\.txt\.j2, line 2: 'acount_name' is undefined"),
        ("Hello\n\n{% if owner %}\n", r"usage-decline\.txt\.j2, line 3: .*[Uu]nexpected end of template"),
        ("{{ renewal_date | day }}", r"usage-decline\.txt\.j2, line 1: "),  # breaks where an account has none
        ("{{ owner | shout }}", r"usage-decline\.txt\.j2, line 1: No filter named 'shout'"),
        ('{% include "absent.j2" %}', r"usage-decline\.txt\.j2, line 1: .*absent\.j2"),
    ],
)
def test_a_mistake_is_named_by_file_and_line(config: Path, content: str, sentence: str) -> None:
    (config / "messages/en/usage-decline.txt.j2").write_text(content)
    with pytest.raises(NotStarted, match=sentence):
        Templates(config)


def test_a_mail_needs_all_its_parts(config: Path) -> None:
    (config / "messages/en/usage-decline.html.j2").unlink()
    with pytest.raises(NotStarted, match=r"usage-decline\.html\.j2, line 1: the mail lacks this part"):
        Templates(config)


def test_a_phrase_may_name_only_what_there_is(config: Path) -> None:
    words = config / "messages/en/words.yaml"
    words.write_text(words.read_text().replace("in {days} days", "in {weeks} weeks"))
    with pytest.raises(NotStarted, match=r"words\.yaml, line \d+: renewal_ahead: only these may stand in braces"):
        Templates(config)


def test_a_language_that_is_not_there_is_said_to_be_missing(config: Path) -> None:
    with pytest.raises(NotStarted, match="There are no messages in the language ja"):
        Templates(config, "ja")


def test_a_language_may_be_added_template_by_template(config: Path) -> None:
    japanese = config / "messages/ja"
    japanese.mkdir()
    words = (config / "messages/en/words.yaml").read_text()
    (japanese / "words.yaml").write_text(words.replace('"{day} {month} {year}"', '"{year}年{month}{day}日"'))
    (japanese / "account-silent.subject.j2").write_text(
        "{{ account_name }} 様、{{ renewal_date | day if renewal_date }}"
    )
    shutil.copy(config / "messages/en/account-silent.txt.j2", japanese)
    shutil.copy(config / "messages/en/account-silent.html.j2", japanese)
    found = Templates(config, "ja")
    assert found.mail("account-silent", FULL_EXAMPLE).subject == "Example & Sons 様、2027年March31日"
    assert "Look at who stopped" in found.slack("usage-decline", FULL_EXAMPLE)


def test_facts_in_a_slack_template_are_harmless_and_its_own_markup_is_kept(config: Path) -> None:
    (config / "messages/en/usage-decline.slack.j2").write_text("*Call* <https://ours.example|{{ account_name }}>")
    facts = msgspec.structs.replace(FULL_EXAMPLE, account_name="<!channel> https://evil.example")
    shown = Templates(config).slack("usage-decline", facts)
    assert shown == "*Call* <https://ours.example|&lt;!channel&gt; https:\u200b//evil.example>"


def test_an_unknown_template_is_a_short_code() -> None:
    with pytest.raises(CannotRender, match=r"^unknown_template$"):
        Templates(CONFIG).slack("christmas", FULL_EXAMPLE)
