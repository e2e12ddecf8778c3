"""Which account an event names, and the rule that found it. Events that name none wait for their user's group calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from libs.common.events import TelemetryKind
from services.ingest.domain.calls import Scalar, identifier


@dataclass(frozen=True, slots=True)
class AccountNames:
    """What products call the account: ``groups`` inside ``$groups``, ``properties`` among the event's own."""

    groups: tuple[str, ...] = ("company",)
    properties: tuple[str, ...] = ("account_id", "company_id", "org_id")


class Resolved(msgspec.Struct, frozen=True):
    """``rule`` says where the account was found; both are None when the event names none."""

    account_id: str | None
    rule: str | None


UNASSIGNED = Resolved(None, None)


def resolve(
    kind: TelemetryKind,
    *,
    context_group: object,
    batch_group: object = None,
    group: Scalar,
    properties: Mapping[str, Any],
    traits: Mapping[str, Any],
    names: AccountNames,
    limit: int,
    subject: Scalar = None,
) -> Resolved:
    """The first match of: the group of a group call, the context's group, that of the batch's context, the event's
    group, ``$groups``, a property, the company among the traits, the subject. Raises InvalidEvent when an account's id
    is too long."""
    if kind is TelemetryKind.GROUP and (found := _account(group, limit)):
        return Resolved(found, "group")
    if context_group is not None and (found := _account(context_group, limit)):
        return Resolved(found, "context.groupId")
    if batch_group is not None and (found := _account(batch_group, limit)):
        return Resolved(found, "context.groupId")
    if group is not None and (found := _account(group, limit)):
        return Resolved(found, "groupId")
    if properties:
        groups = properties.get("$groups")
        if isinstance(groups, dict):
            for name in names.groups:
                if found := _account(groups.get(name), limit):
                    return Resolved(found, f"properties.$groups.{name}")
        for name in names.properties:
            if found := _account(properties.get(name), limit):
                return Resolved(found, f"properties.{name}")
    if traits:
        company = traits.get("company")
        if isinstance(company, dict) and (found := _account(company.get("id"), limit)):
            return Resolved(found, "traits.company.id")
    if subject is not None and (found := _account(subject, limit)):
        return Resolved(found, "subject")
    return UNASSIGNED


def _account(value: object, limit: int) -> str | None:
    return identifier(value, "account_id", limit) if isinstance(value, str | int | float) else None
