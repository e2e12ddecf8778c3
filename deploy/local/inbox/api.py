"""The inbox's own HTTP side: the page, what was delivered as JSON, and the control of faults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel

from deploy.local.inbox.faults import Fault, Faults
from deploy.local.inbox.messages import Email, Message, Messages
from libs.common.errors import Refused

PAGE = Path(__file__).with_name("page.html")
CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; frame-src 'self' about:; img-src data: https:"
)


class Delivered(BaseModel):
    """``seq`` is that of the newest change: ask ``after`` it for what comes next."""

    seq: int
    messages: list[Message]


def routes(messages: Messages, faults: Faults) -> APIRouter:
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers={"Content-Security-Policy": CONTENT_POLICY})

    @router.get("/v1/messages", tags=["delivered"], summary="What was delivered, oldest first")
    async def list_messages(
        channel: Literal["slack", "email"] | None = None, after: Annotated[int, Query(ge=0)] = 0
    ) -> Delivered:
        found = [one for one in messages.all() if one.seq > after and channel in (None, one.channel)]
        return Delivered(seq=messages.seq, messages=found)

    @router.get("/v1/messages/{message_id}/source", tags=["delivered"], summary="A mail as it was sent")
    async def source(message_id: str) -> PlainTextResponse:
        found = messages.find(message_id)
        if not isinstance(found, Email):
            raise Refused(404, "unknown_message", f"There is no mail {message_id}.")
        return PlainTextResponse(found.source.encode("latin-1"))

    @router.get("/v1/faults", tags=["faults"], summary="Faults still to come")
    async def list_faults() -> list[Fault]:
        return faults.planned

    @router.post("/v1/faults", tags=["faults"], summary="Let the next calls fail")
    async def add_fault(fault: Fault) -> list[Fault]:
        faults.add(fault)
        return faults.planned

    @router.delete("/v1/faults", tags=["faults"], summary="No more faults")
    async def clear_faults() -> list[Fault]:
        faults.clear()
        return faults.planned

    return router
