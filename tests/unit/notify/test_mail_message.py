"""Mail: the same id for every attempt, and nothing that a customer can add to it."""

from __future__ import annotations

import email
import email.policy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events import Channel, TouchFacts
from services.notify.domain.delivery import Delivery
from services.notify.mail_message import bare_address, compose, message_id
from services.notify.templates import FULL_EXAMPLE, CannotRender
from tests.unit.notify.samples import delivery, templates

SENDER = "Customer Success <success@kizashi.example>"
TEMPLATES = templates()


def mail(facts: TouchFacts = FULL_EXAMPLE, **changes: Any) -> Delivery:
    fields = {"channel": Channel.EMAIL, "target": "ken@example.com", "template": "account-silent"}
    return delivery(facts, **(fields | changes))


def read(one: Delivery) -> email.message.EmailMessage:
    sent = compose(one, SENDER, TEMPLATES).as_bytes()
    return email.message_from_bytes(sent, policy=email.policy.default)


def test_a_mail_to_a_customer() -> None:
    found = read(mail())
    assert found["From"] == SENDER
    assert found["To"] == "Ken Abe <ken@example.com>"
    assert found["Subject"] == "Is everything all right at Example & Sons?"
    assert found["Auto-Submitted"] == "auto-generated"
    text, html = found.get_body(("plain",)), found.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "nobody from Example & Sons has been here since 20 December 2026" in text.get_content()
    assert "Example &amp; Sons" in html.get_content()
    assert '<html lang="en">' in html.get_content()


@pytest.mark.parametrize("template", ["account-silent", "usage-decline"])
def test_a_customer_does_not_read_what_we_measure(template: str) -> None:
    sent = compose(mail(template=template), SENDER, TEMPLATES).as_string().lower()
    for inside in ["38", "120,000", "120000", "red", "enterprise", "churn", "score"]:
        assert f" {inside}" not in sent


def test_the_message_id_is_the_same_for_every_attempt() -> None:
    ids = {compose(mail(attempt=n), SENDER, TEMPLATES)["Message-ID"] for n in range(5)}
    assert ids == {f"<{mail().id}@kizashi.example>"}
    assert message_id(mail(), SENDER) in ids
    assert bare_address(SENDER) == "success@kizashi.example"


names = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        ["Ken\r\nBcc: all@example.com", "Ken\nSubject: x", "\0", '"; <x@y>', "😀" * 100, "<script>x</script>"]
    ),
)


@settings(deadline=None)
@given(account=names, contact=names, owner=names)
def test_no_name_adds_a_header_a_recipient_or_markup(account: str, contact: str, owner: str) -> None:
    facts = msgspec.structs.replace(FULL_EXAMPLE, account_name=account, contact_name=contact, owner=owner)
    found = read(mail(facts))
    plain = read(mail())
    assert found.keys() == plain.keys()
    assert [address.addr_spec for address in found["To"].addresses] == ["ken@example.com"]
    html = found.get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()


@pytest.mark.parametrize(
    "target",
    ["", "ken", "ken@", "@example.com", "a@b@c", "ken@example.com\r\nRCPT TO:<x@y.example>", "k en@example.com"],
)
def test_what_is_no_address_gets_no_mail(target: str) -> None:
    with pytest.raises(CannotRender, match="invalid_recipient"):
        compose(mail(target=target), SENDER, TEMPLATES)


def test_an_unknown_template_is_said_to_be() -> None:
    with pytest.raises(CannotRender, match="unknown_template"):
        compose(mail(template="christmas"), SENDER, TEMPLATES)


def test_a_template_is_a_name_and_not_a_path() -> None:
    with pytest.raises(CannotRender, match="unknown_template"):
        compose(mail(template="../../health/default"), SENDER, TEMPLATES)


def test_mail_travels_in_seven_bits() -> None:
    facts = msgspec.structs.replace(FULL_EXAMPLE, account_name="株式会社兆し")
    sent = compose(mail(facts), SENDER, TEMPLATES).as_bytes()
    assert sent.isascii()
    assert max(len(line) for line in sent.split(b"\r\n")) <= 998
    assert read(mail(facts))["Subject"] == "Is everything all right at 株式会社兆し?"
