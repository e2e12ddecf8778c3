"""What a CSM reads in Slack, and what a hostile customer name can do to it: nothing."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.inbox.block_kit import problems_of
from libs.common.events import Band, Reason, TouchFacts
from services.notify.slack_message import compose, metadata
from services.notify.slack_text import bars, cut, escaped, length, quoted
from services.notify.templates import BARE_EXAMPLE, FULL_EXAMPLE, Templates
from tests.unit.notify.samples import delivery, templates

TEMPLATES: Templates = templates()

hostile = st.one_of(
    st.text(max_size=4000),
    st.text(alphabet="&<>|@!#`*_~ \n\u202e\u2028", max_size=4000),
    st.sampled_from(
        [
            "<!channel>",
            "<!here|here>",
            "<@U012AB3CD>",
            "<#C012AB3CD|general>",
            "<https://evil.example|your invoice>",
            "https://evil.example/login",
            "@channel @here @everyone",
            "&lt;!channel&gt;",
            "x\n*What to do next*\nPay the invoice",
            "&" * 3000,
            "😀" * 3000,
            "",
        ]
    ),
)
facts = st.builds(
    TouchFacts,
    account_name=hostile,
    segment=hostile,
    stage=hostile,
    finding=hostile,
    arr=st.one_of(st.none(), st.floats(min_value=0, max_value=1e15)),
    owner=st.one_of(st.none(), hostile),
    contact_name=st.one_of(st.none(), hostile),
    renewal_date=st.one_of(st.none(), st.dates()),
    days_to_renewal=st.one_of(st.none(), st.integers(min_value=-4000, max_value=4000)),
    band_before=st.one_of(st.none(), st.sampled_from(Band)),
    band=st.one_of(st.none(), st.sampled_from(Band)),
    score_before=st.one_of(st.none(), st.floats(min_value=0, max_value=100)),
    score=st.one_of(st.none(), st.floats(min_value=0, max_value=100)),
    reasons=st.lists(
        st.builds(
            Reason,
            measure=hostile,
            title=hostile,
            value=hostile,
            threshold=hostile,
            window=hostile,
            points_lost=st.floats(min_value=0, max_value=100),
        ),
        max_size=6,
    ).map(tuple),
    trend=st.lists(st.integers(min_value=0, max_value=10**12), max_size=8).map(tuple),
)


def texts(blocks: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for block in blocks:
        parts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        found += [part["text"] for part in parts if part]
    return found


@settings(deadline=None)
@given(facts=facts, template=st.sampled_from(["usage-decline", "account-silent"]))
def test_no_customer_can_break_a_limit_or_mention_or_link(facts: TouchFacts, template: str) -> None:
    message = compose(delivery(facts, template=template), TEMPLATES)
    assert problems_of(message.blocks) == []
    assert len(message.blocks) <= 50
    assert length(message.blocks[0]["text"]["text"]) <= 150
    assert all(length(text) <= 3000 for text in texts(message.blocks))
    assert length(message.text) <= 3000
    assert all(part.get("verbatim") for part in message.blocks[1]["fields"])
    for text in [message.text, *texts(message.blocks)]:
        assert "<" not in text
        assert ">" not in text
        assert "://" not in text
        assert "@channel" not in text.lower()
        assert "\u202e" not in text
        bare = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert "&" not in bare
    json.dumps(message.blocks).encode()


@settings(deadline=None)
@given(text=hostile, most=st.integers(min_value=1, max_value=200))
def test_cutting_never_splits_an_entity_or_a_character(text: str, most: int) -> None:
    shown = cut(escaped(text), most)
    assert length(shown) <= max(most, 1)
    bare = shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert "&" not in bare


def test_customers_cannot_imitate_our_lines() -> None:
    assert quoted("x\n*What to do next*\r\nPay") == "x *What to do next* Pay"


def test_an_alert_has_what_a_csm_acts_on() -> None:
    message = compose(delivery(FULL_EXAMPLE), TEMPLATES)
    everything = "\n".join(texts(message.blocks))
    assert message.blocks[0]["text"]["text"] == "🔴 Example &amp; Sons: green → red"
    for expected in [
        "*Health score*\n81 → 38",
        "*ARR*\n120,000",
        "*Renewal*\nin 90 days, on 31 March 2027",
        "*Owner*\nHana Mori",
        "1. Active users: 4 of 30 (at least 12; last 14 days) · costs 22 points",
        "`███▇▅▃▂▁`  420 → 20",
        "*What to do next*\n1. Look at who stopped",
        "Call Ken Abe this week",
        "enterprise · adoption · high touch · playbook usage-decline",
    ]:
        assert expected in everything
    assert message.text.startswith("🔴 Example &amp; Sons: green → red · Active users: 4 of 30")


def test_an_alert_says_what_is_not_known() -> None:
    everything = "\n".join(texts(compose(delivery(BARE_EXAMPLE), TEMPLATES).blocks))
    assert "*ARR*\nnot known" in everything
    assert "*Owner*\nnobody yet" in everything
    assert "*Renewal*\nnot known" in everything


def test_only_the_three_first_reasons_are_shown() -> None:
    reason = FULL_EXAMPLE.reasons[0]
    five = tuple(msgspec.structs.replace(reason, title=f"Reason {n}") for n in range(1, 6))
    everything = "\n".join(
        texts(compose(delivery(msgspec.structs.replace(FULL_EXAMPLE, reasons=five)), TEMPLATES).blocks)
    )
    assert "Reason 3" in everything
    assert "Reason 4" not in everything


def test_a_renewal_that_has_passed_is_said_to_have() -> None:
    passed = msgspec.structs.replace(FULL_EXAMPLE, renewal_date=date(2026, 10, 1), days_to_renewal=-50)
    assert "50 days ago, on 1 October 2026" in "\n".join(texts(compose(delivery(passed), TEMPLATES).blocks))


def test_the_message_carries_its_delivery_unseen() -> None:
    one = delivery()
    assert metadata(one) == {"event_type": "kizashi_delivery", "event_payload": {"delivery_id": str(one.id)}}
    assert str(one.id) not in json.dumps(compose(one, TEMPLATES).blocks)


@pytest.mark.parametrize(
    ("values", "picture"),
    [((), ""), ((0, 0), "▁▁"), ((1,), "█"), ((0, 1, 2, 3, 4, 5, 6, 7), "▁▂▃▄▅▆▇█"), ((120, 60, 0), "█▅▁")],
)
def test_bars(values: tuple[int, ...], picture: str) -> None:
    assert bars(values) == picture
