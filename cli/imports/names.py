"""What the fields of calls and the traits of accounts are usually called, and what is written in them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cli.imports.values import Type


class Kind(StrEnum):
    ACCOUNTS = "accounts"
    EVENTS = "events"


FIELDS = {
    "account_id": "groupId",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "previous_id": "previousId",
    "message_id": "messageId",
    "type": "type",
    "event": "event",
    "name": "name",
    "timestamp": "timestamp",
    "properties": "properties",
    "traits": "traits",
    "context": "context",
}
"""Of a call, by what they are called here: the names of the wire, and of those exports that have them."""
CALLS = ("track", "identify", "group", "page", "screen", "alias")

FIELDS_OF_ACCOUNTS = ("account_id", "user_id", "timestamp", "message_id", "traits")
USUAL_TYPES = {
    "timestamp": Type.MOMENT,
    "properties": Type.OBJECT,
    "traits": Type.OBJECT,
    "context": Type.OBJECT,
    "arr": Type.NUMBER,
    "seats": Type.NUMBER,
    "renewal_date": Type.DATE,
    "created_at": Type.DATE,
    "churned_at": Type.DATE,
    "first_seen": Type.DATE,
}
_IDS = {
    "account_id": (
        "group_id", "company_id", "organization_id", "organisation_id", "org_id", "customer_id", "tenant_id",
        "accountid", "companyid",
    ),
    "user_id": ("userid",),
    "anonymous_id": ("anonymousid",),
    "message_id": ("messageid", "insert_id"),
}  # fmt: skip
SYNONYMS: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    Kind.ACCOUNTS: {
        **_IDS,
        "account_id": (*_IDS["account_id"], "id"),
        "timestamp": ("as_of",),
        "name": (
            "account_name", "company_name", "customer_name", "organization_name", "organisation_name", "company",
            "account", "customer", "organization", "organisation",
        ),
        "arr": ("annual_recurring_revenue", "arr_amount"),
        "plan": ("plan_name", "subscription_plan"),
        "seats": ("licensed_seats", "licenses", "licences", "seat_count"),
        "owner": ("account_owner", "account_manager", "csm", "customer_success_manager", "csm_email"),
        "contact_email": ("primary_contact_email", "main_contact_email", "customer_email", "email"),
        "contact_name": ("primary_contact", "primary_contact_name", "main_contact", "contact"),
        "renewal_date": ("renewal", "renews_on", "renews_at", "next_renewal", "contract_end", "contract_end_date"),
        "first_seen": ("customer_since", "client_since"),
    },
    Kind.EVENTS: {
        **_IDS,
        "event": ("event_name", "eventname"),
        "timestamp": (
            "occurred_at", "event_time", "event_timestamp", "original_timestamp", "time", "datetime", "created_at",
            "date",
        ),
    },
}  # fmt: skip
"""Best first. What is no field of the call is a trait."""
