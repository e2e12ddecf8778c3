"""Findings, snapshots and playbooks to test with."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from libs.common.events import (
    AccountChanged,
    AccountWentSilent,
    Band,
    HealthBandChanged,
    Reason,
    Tier,
    TouchDelivered,
    TouchFailed,
    TouchRequested,
    TouchSuppressed,
    derived_id,
)
from services.playbook.definitions import Catalogue, Playbook, TouchTiers

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
WORKSPACE = 1
ACCOUNT = "acme/tokyo"

TIERS = TouchTiers(
    segments={"enterprise": Tier.HIGH, "mid_market": Tier.LOW, "small_business": Tier.TECH},
    otherwise=Tier.LOW,
    slack_channels={Tier.HIGH: "#csm", Tier.LOW: "#csm-pool"},
)

_DECLINE: dict[str, Any] = {
    "name": "usage-decline",
    "version": 1,
    "title": "Usage decline",
    "priority": 50,
    "trigger": {"band_worsens_to": ["yellow", "red"]},
    "exclude_stages": ["churned"],
    "freshness_days": 5,
    "cool_down_days": 30,
    "goal": ["green_again"],
    "steps": {
        "high_touch": [{"slack": "usage-decline"}, {"wait_days": 30}, "end"],
        "low_touch": [{"slack": "usage-decline"}, {"wait_days": 30}, "end"],
        "tech_touch": [{"wait_days": 14}, {"email": "usage-decline"}, {"wait_days": 30}, "end"],
    },
}
_SILENT: dict[str, Any] = {
    "name": "account-silent",
    "version": 1,
    "title": "Account silent",
    "priority": 80,
    "trigger": {"account_goes_silent": True},
    "exclude_stages": ["churned"],
    "freshness_days": 5,
    "cool_down_days": 30,
    "goal": ["active_again", "green_again"],
    "steps": {
        "high_touch": [{"slack": "account-silent"}, {"wait_days": 30}, "end"],
        "low_touch": [{"slack": "account-silent"}, {"wait_days": 30}, "end"],
        "tech_touch": [{"email": "account-silent"}, {"wait_days": 30}, "end"],
    },
}


def usage_decline(**changes: Any) -> Playbook:
    return Playbook.model_validate(_DECLINE | changes)


def account_silent(**changes: Any) -> Playbook:
    return Playbook.model_validate(_SILENT | changes)


def catalogue(*playbooks: Playbook) -> Catalogue:
    """Without arguments both playbooks, as they ship."""
    chosen = playbooks or (usage_decline(), account_silent())
    return Catalogue(tuple(sorted(chosen, key=lambda playbook: -playbook.priority)), TIERS)


def snapshot(version: int = 1, **changes: Any) -> AccountChanged:
    fields: dict[str, Any] = {
        "workspace": WORKSPACE,
        "account_id": ACCOUNT,
        "version": version,
        "as_of": NOW,
        "name": "Acme & Sons",
        "segment": "enterprise",
        "stage": "adoption",
        "arr": 120_000.0,
        "owner": "Hana Mori",
        "contact_email": "ken@acme.example",
        "contact_name": "Ken Abe",
        "renewal_date": date(2026, 8, 2),
        "band": Band.YELLOW,
        "score": 61.0,
    } | changes
    return AccountChanged(
        **({"id": derived_id(fields["workspace"], fields["account_id"], "changed", version)} | fields)
    )


def band_changed(
    to: Band | None = Band.YELLOW,
    before: Band | None = Band.GREEN,
    *,
    version: int = 1,
    episode: int = 1,
    as_of: datetime = NOW,
    **changes: Any,
) -> HealthBandChanged:
    fields: dict[str, Any] = {
        "workspace": WORKSPACE,
        "account_id": ACCOUNT,
        "account_version": version,
        "episode": episode,
        "as_of": as_of,
        "due_at": as_of,
        "score": 61.0,
        "band": to,
        "band_before": before,
        "score_before": 82.0,
        "reasons": (
            Reason(
                measure="active_users",
                title="Active users",
                value="4 of 30",
                threshold="at least 12",
                window="28 days",
                points_lost=18.0,
            ),
        ),
        "trend": (40, 30, 20, 10),
    } | changes
    number = f"{episode} {version} {to}"
    return HealthBandChanged(**({"id": derived_id(fields["workspace"], fields["account_id"], "band", number)} | fields))


def went_silent(
    *, version: int = 1, episode: int = 1, as_of: datetime = NOW, band: Band | None = Band.YELLOW, **changes: Any
) -> AccountWentSilent:
    fields: dict[str, Any] = {
        "workspace": WORKSPACE,
        "account_id": ACCOUNT,
        "account_version": version,
        "episode": episode,
        "as_of": as_of,
        "due_at": as_of,
        "score": 48.0,
        "band": band,
        "last_activity_at": as_of - timedelta(days=12),
        "expected_by": as_of,
    } | changes
    return AccountWentSilent(
        **({"id": derived_id(fields["workspace"], fields["account_id"], "silent", episode)} | fields)
    )


def _about(touch: TouchRequested, kind: str) -> dict[str, Any]:
    return {
        "workspace": touch.workspace,
        "account_id": touch.account_id,
        "id": f"{kind} {touch.id}",
        "touch_id": touch.id,
        "run_id": touch.run_id,
        "channel": touch.channel,
        "recipient": touch.recipient,
        "at": NOW,
    }


def delivered(touch: TouchRequested) -> TouchDelivered:
    return TouchDelivered(**_about(touch, "delivered"), provider_id="1700000000.000100", accepted_at=NOW)


def failed(touch: TouchRequested, reason: str) -> TouchFailed:
    return TouchFailed(**_about(touch, "failed"), reason=reason)


def suppressed(touch: TouchRequested, reason: str) -> TouchSuppressed:
    return TouchSuppressed(**_about(touch, "suppressed"), reason=reason)


CONFIG = Path(__file__).parents[3] / "config"


def copy_config(folder: Path) -> None:
    """What ships, to be spoiled."""
    (folder / "playbooks").mkdir()
    shutil.copy(CONFIG / "touch_tiers.yaml", folder)
    for path in (CONFIG / "playbooks").glob("*.yaml"):
        shutil.copy(path, folder / "playbooks")


def edit(path: Path, old: str, new: str) -> int:
    """Replace the first ``old``; the answer is the line at which the replacement begins."""
    before, found, after = path.read_text().partition(old)
    assert found
    path.write_text(before + new + after)
    return before.count("\n") + 1
