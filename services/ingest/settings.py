"""Ingest's environment variables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from libs.common.settings import CommonSettings
from services.ingest.domain.acceptance import Limits
from services.ingest.domain.accounts import AccountNames
from services.ingest.pressure import most_of_a_request

Names = Annotated[tuple[str, ...], NoDecode]
"""Comma separated."""


class IngestSettings(CommonSettings):
    """Limits guard memory and the event log; what lies beyond them is refused with a code that says which."""

    ingest_port: int = Field(default=8080, ge=1, le=65535)

    ingest_body_limit_bytes: int = Field(default=5 * 1024 * 1024, ge=1024, description="decoded, of many events")
    ingest_single_body_limit_bytes: int = Field(default=1024 * 1024, ge=1024, description="decoded, of one event")
    ingest_event_limit_bytes: int = Field(default=64 * 1024, ge=1024, le=512 * 1024)
    ingest_batch_limit_events: int = Field(default=2500, ge=1, le=10_000)
    ingest_in_flight_limit_bytes: int = Field(
        default=64 * 1024 * 1024, description="of memory for all requests in hand; over it they get 503"
    )
    ingest_read_deadline_seconds: float = Field(
        default=30, gt=0, le=300, description="for a request's headers to arrive, and then for its body; then 408"
    )
    ingest_append_deadline_seconds: float = Field(default=5, gt=0, le=5, description="for the event log; then 503")
    ingest_log_silent_seconds: float = Field(
        default=10, gt=0, le=30, description="without a word of the event log; then /readyz is red"
    )
    ingest_key_cache_seconds: float = Field(default=5, ge=0, le=60, description="until a revoked key is refused")

    ingest_key_events_per_s: int = Field(
        default=2000, ge=0, description="of a write key without a quota of its own; then 429; 0 for none"
    )
    ingest_key_import_events_per_s: int = Field(
        default=2000, ge=0, description="of history, which takes nothing from the other; 0 for none"
    )

    ingest_account_properties: Names = Field(
        default=AccountNames().properties, description="properties that name the account, the first that is there wins"
    )
    ingest_account_groups: Names = Field(
        default=AccountNames().groups, description="groups in $groups that are accounts"
    )

    @field_validator("ingest_in_flight_limit_bytes")
    @classmethod
    def _holds_one_body(cls, limit: int, others: ValidationInfo) -> int:
        body, events = (others.data.get(f"ingest_{name}", 0) for name in ("body_limit_bytes", "batch_limit_events"))
        if limit < (most := most_of_a_request(body, events)):
            raise ValueError(
                f"must be at least {most}, which is what one request of KIZASHI_INGEST_BODY_LIMIT_BYTES ({body}) can "
                "take, or no such request is ever taken"
            )
        return limit

    @field_validator("ingest_account_properties", "ingest_account_groups", mode="before")
    @classmethod
    def _split(cls, names: object) -> object:
        return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names

    def limits(self) -> Limits:
        return Limits(event_bytes=self.ingest_event_limit_bytes, events=self.ingest_batch_limit_events)

    def account_names(self) -> AccountNames:
        return AccountNames(groups=self.ingest_account_groups, properties=self.ingest_account_properties)
