"""Fields that several of these routes take, each with a sentence for whoever gets it wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from libs.common.clock import wall_now
from libs.common.errors import Refused
from services.ingest import origins

FARTHEST_EXPIRY = timedelta(days=36_525)


def _told(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Hands on the sentence of a ValueError as it is."""

    def check(value: Any) -> Any:
        try:
            return rule(value)
        except ValueError as exc:
            raise PydanticCustomError("not_valid", "{sentence}", {"sentence": str(exc)}) from exc

    return check


def _moment(value: object) -> datetime:
    problem = "must be a date and time with its zone, as 2027-01-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(value.upper() if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(problem) from None
    if moment.tzinfo is None:
        raise ValueError(problem)
    return moment


def number(value: Any) -> Any:
    """As JSON means it: 5.0 is a whole number, and neither true nor "5" is one."""
    if isinstance(value, bool | str):
        raise PydanticCustomError("not_valid", "must be a number")
    return value


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
SourceId = Annotated[int, Path(ge=1, lt=2**63, description="a source of the caller's workspace")]
KeyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

Expiry = Annotated[
    datetime,
    BeforeValidator(_told(_moment)),
    Field(description="in real time; from then on the key is refused", examples=["2027-01-31T12:00:00Z"]),
]
Origin = Annotated[
    str,
    AfterValidator(_told(origins.origin_as_sent)),
    WithJsonSchema({"type": "string", "pattern": f"^{origins.PATTERN}$", "maxLength": origins.LONGEST}),
]


def check_expiry(moment: datetime | None) -> None:
    """Raises Refused. A 409, since the value is in order, and it is the time that is not."""
    now = wall_now()
    if moment is not None and not now < moment < now + FARTHEST_EXPIRY:
        raise Refused(
            409,
            "expiry_out_of_reach",
            "expires_at must lie in the future, and within 100 years; to end a key now, revoke it.",
        )


class Rotation(BaseModel):
    """How long both keys work."""

    model_config = ConfigDict(extra="forbid")

    overlap_hours: float = Field(
        default=24, ge=0, le=8760, strict=True, description="the old key goes on working for so long; 0: not at all"
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(hours=self.overlap_hours)
