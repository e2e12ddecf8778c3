"""How findings, moments and people's places are put into words."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from libs.common.events import AccountWentSilent, Channel, HealthBandChanged, Tier
from services.playbook.domain.runs import Finding

_CHANNELS = {Channel.SLACK: "Slack message", Channel.EMAIL: "Email"}


def day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def finding_in_words(finding: Finding) -> str:
    match finding:
        case AccountWentSilent():
            return (
                f"Nobody has been active since {day(finding.last_activity_at)}; "
                f"activity was due by {day(finding.expected_by)}"
            )
        case HealthBandChanged():
            before = finding.band_before.value if finding.band_before else "unknown"
            now = finding.band.value if finding.band else "unknown"
            if finding.score is None or finding.score_before is None:
                return f"Health went from {before} to {now}"
            return f"Health went from {before} to {now}, score {finding.score_before:.0f} → {finding.score:.0f}"
        case _:
            assert_never(finding)


def tier_in_words(tier: Tier) -> str:
    return tier.value.replace("_", " ")


def message_in_words(channel: Channel, recipient: str | None) -> str:
    """«Slack message to #customer-success», «Email to nobody: the account has no contact»."""
    to = f"to {recipient}" if recipient else "to nobody: the account has no contact"
    return f"{_CHANNELS[channel]} {to}"
