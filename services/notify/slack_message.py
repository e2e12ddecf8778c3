"""The Slack message of a touch: who, how bad, why, since when, and what to do, for a CSM who will act on it.

Every text is cut to a share of its own, so Block Kit's limits (50 blocks, 150 characters in a header, 3000 in a
section, 2000 in a field) cannot be exceeded whatever a customer is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from libs.common.events import Band, Reason, TouchFacts
from services.notify.domain.delivery import Delivery
from services.notify.slack_text import bars, cut, quoted
from services.notify.templates import Templates
from services.notify.words import Words

Block = dict[str, Any]

HEADER_MOST = 150
SECTION_MOST = 3000
NAME_MOST = 80
FINDING_MOST = 600
FIELD_MOST = 300
REASON_MOST = 600
REASONS_SHOWN = 3
EVENT_TYPE = "kizashi_delivery"

_ICONS = {Band.GREEN: "🟢", Band.YELLOW: "🟡", Band.RED: "🔴", None: "⚪"}


@dataclass(frozen=True)
class SlackText:
    """``text`` is what notifications and screen readers show; ``blocks`` is what people see."""

    text: str
    blocks: list[Block]


def compose(delivery: Delivery, templates: Templates) -> SlackText:
    """Raises CannotRender."""
    facts, words = delivery.facts, templates.words
    what_next = templates.slack(delivery.template, facts)
    headline = f"{_ICONS[facts.band]} {quoted(facts.account_name, NAME_MOST)}: {_bands(facts, words)}"
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(headline, HEADER_MOST), "emoji": False}},
        {
            "type": "section",
            "text": _mrkdwn(quoted(facts.finding, FINDING_MOST) or words.unknown, SECTION_MOST),
            "fields": [_mrkdwn(f"*{label}*\n{value}", 2000) for label, value in _fields(facts, words)],
        },
    ]
    reasons = [_reason(reason, words) for reason in facts.reasons[:REASONS_SHOWN]]
    if reasons:
        numbered = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
        blocks.append(_section(f"*{words.why}*\n{numbered}"))
    if facts.trend:
        ends = f"{facts.trend[0]:,} → {facts.trend[-1]:,}"
        blocks.append(_section(f"*{words.trend}*\n`{bars(facts.trend)}`  {ends}"))
    if what_next:
        blocks.append(_section(f"*{words.next}*\n{what_next}"))
    blocks.append({"type": "context", "elements": [_mrkdwn(_footer(delivery, words), SECTION_MOST)]})
    first_reason = f" · {reasons[0]}" if reasons else ""
    return SlackText(text=cut(f"{headline}{first_reason}", SECTION_MOST), blocks=blocks)


def metadata(delivery: Delivery) -> dict[str, Any]:
    """What the message carries unseen, to be found again by."""
    return {"event_type": EVENT_TYPE, "event_payload": {"delivery_id": str(delivery.id)}}


def _fields(facts: TouchFacts, words: Words) -> list[tuple[str, str]]:
    """Label and value, at most ten of them."""
    return [
        (words.score, _score(facts, words)),
        (words.arr, f"{facts.arr:,.0f}" if facts.arr is not None else words.unknown),
        (words.renewal, _renewal(facts, words)),
        (words.owner, quoted(facts.owner, FIELD_MOST) if facts.owner else words.nobody),
    ]


def _bands(facts: TouchFacts, words: Words) -> str:
    now = words.band(facts.band)
    return now if facts.band_before in (None, facts.band) else f"{words.band(facts.band_before)} → {now}"


def _score(facts: TouchFacts, words: Words) -> str:
    now = words.unknown if facts.score is None else f"{facts.score:.0f}"
    return now if facts.score_before is None else f"{facts.score_before:.0f} → {now}"


def _renewal(facts: TouchFacts, words: Words) -> str:
    if facts.renewal_date is None:
        return words.unknown
    day = words.date(facts.renewal_date)
    if facts.days_to_renewal is None:
        return day
    phrase = words.renewal_ahead if facts.days_to_renewal >= 0 else words.renewal_past
    return phrase.format(days=abs(facts.days_to_renewal), day=day)


def _reason(reason: Reason, words: Words) -> str:
    line = words.reason.format(
        title=quoted(reason.title, 120),
        value=quoted(reason.value, 120),
        threshold=quoted(reason.threshold, 120),
        window=quoted(reason.window, 120),
    )
    points = words.points.format(points=f"{reason.points_lost:.0f}") if round(reason.points_lost) else ""
    return cut(f"{line}{points}", REASON_MOST)


def _footer(delivery: Delivery, words: Words) -> str:
    return words.footer.format(
        playbook=quoted(delivery.playbook),
        tier=_spoken(delivery.tier),
        segment=_spoken(delivery.facts.segment),
        stage=_spoken(delivery.facts.stage),
        day=words.date(delivery.requested_at.date()),
    )


def _spoken(name: str) -> str:
    """``high_touch`` is a name in a file; people say high touch."""
    return quoted(name.replace("_", " "))


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text, SECTION_MOST)}


def _mrkdwn(text: str, most: int) -> Block:
    """``verbatim``: Slack makes no links or mentions out of plain words."""
    return {"type": "mrkdwn", "text": cut(text, most), "verbatim": True}
