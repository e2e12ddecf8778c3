"""What browser SDKs ask before they send anything: who takes their events, and through which integrations.

There are none: everything comes here. Both SDKs do without an answer's other fields, but not without these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from libs.common.errors import Refused
from services.ingest.admission import check_origin
from services.ingest.openapi import WRITE_KEY_SECURITY
from services.ingest.pressure import Refusals
from services.ingest.write_keys import KeyOwner, WriteKeys, shown_before_the_body

REMEMBERED = "private, max-age=60"
"""By the browser itself, for a minute: shared caches might not ask whether the key is still good, or for which page."""

Key = Annotated[str, Path(description="a write key")]


class Metrics(BaseModel):
    sampleRate: Literal[0] = 0
    """Else analytics-next reports on itself, to its maker."""


class SegmentIntegration(BaseModel):
    """Where analytics-next sends: ``protocol://apiHost/t`` for a track call."""

    apiKey: str
    apiHost: str
    protocol: Literal["http", "https"]


class Integrations(BaseModel):
    segment: SegmentIntegration = Field(serialization_alias="Segment.io")


class AnalyticsNextSettings(BaseModel):
    integrations: Integrations
    metrics: Metrics = Metrics()


class Reporting(BaseModel):
    enabled: Literal[False] = False


class StatsCollection(BaseModel):
    """What the SDK reports on itself, to its maker: nothing."""

    errors: Reporting = Reporting()
    metrics: Reporting = Reporting()


class RudderConfig(BaseModel):
    statsCollection: StatsCollection = StatsCollection()


class RudderSource(BaseModel):
    id: str
    name: str
    workspaceId: str
    writeKey: str
    enabled: Literal[True] = True
    config: RudderConfig = RudderConfig()
    destinations: list[Any] = Field(default=[], max_length=0)


class RudderSettings(BaseModel):
    source: RudderSource


def routes(keys: WriteKeys, refusals: Refusals) -> APIRouter:
    """With and without a trailing slash, as every path that an SDK asks."""
    router = APIRouter(tags=["SDK settings"])

    async def owner(key: str | None, request: Request) -> KeyOwner:
        """Raises Refused 401 for a key that is not ours and 403 for a page that it is not for: both SDKs give up."""
        try:
            found = await keys.owner(key)
            check_origin(found, dict(request.scope["headers"]))
            return found
        except Refused:
            if not refusals.are_few():
                await refusals.hold(request.receive)
            raise

    async def analytics_next(key: Key, request: Request, response: Response) -> AnalyticsNextSettings:
        await owner(key, request)
        response.headers["Cache-Control"] = REMEMBERED
        here = SegmentIntegration(apiKey=key, apiHost=f"{request.url.netloc}/v1", protocol=_protocol(request))
        return AnalyticsNextSettings(integrations=Integrations(segment=here))

    async def rudder(request: Request, response: Response) -> RudderSettings:
        key = shown_before_the_body(dict(request.scope["headers"]), request.scope["query_string"])
        found = await owner(key, request)
        response.headers["Cache-Control"] = REMEMBERED
        return RudderSettings(
            source=RudderSource(
                id=str(found.source),
                name=f"Source {found.source}",
                workspaceId=str(found.workspace),
                writeKey=key or "",
            )
        )

    for slash in ("", "/"):
        router.add_api_route(
            "/v1/projects/{key}/settings" + slash,
            analytics_next,
            summary="What analytics-next asks its CDN",
            include_in_schema=not slash,
        )
        router.add_api_route(
            "/sourceConfig" + slash,
            rudder,
            summary="What rudder-js asks its control plane",
            include_in_schema=not slash,
            openapi_extra={"security": WRITE_KEY_SECURITY},
        )
    return router


def _protocol(request: Request) -> Literal["http", "https"]:
    """As the browser sees it: whoever ends TLS in front of us says so."""
    seen = request.headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip().lower()
    return "https" if seen == "https" else "http"
