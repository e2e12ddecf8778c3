"""Slack's HTTP side: ``/slack/api/<method>`` for bots, ``/slack/services/…`` for incoming webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, PlainTextResponse, Response

from deploy.local.inbox.dropping import drop, gone
from deploy.local.inbox.faults import Fault, FaultKind, Faults
from deploy.local.inbox.slack import RateLimited, Slack, SlackError

WEBHOOK_PATH = "/slack/services/T0KIZASHI/B0KIZASHI"
DELIVERING = ("chat.postMessage", "webhook")


class NoAnswer(Response):
    """The connection is gone already, so there is nothing to send."""

    async def __call__(self, *_: Any) -> None:
        return


def routes(slack: Slack, faults: Faults, *, webhook_secret: str, webhook_channel: str) -> APIRouter:
    router = APIRouter(tags=["slack"])
    methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "auth.test": lambda _arguments: slack.auth_test(),
        "chat.postMessage": slack.post,
        "chat.update": slack.update,
        "conversations.history": slack.history,
        "conversations.list": slack.channels,
        "conversations.replies": slack.replies,
    }

    async def with_faults(request: Request, method: str, where: str, answer: Callable[[], Response]) -> Response:
        fault = faults.take("slack", method, where, method in DELIVERING)
        if fault is None:
            return answer()
        if fault.kind in (FaultKind.DROP_AFTER, FaultKind.HANG_AFTER):
            answer()
        return await _failing(request, fault)

    @router.api_route("/slack/api/{method}", methods=["GET", "POST"], summary="A method of Slack's Web API")
    async def call(method: str, request: Request) -> Response:
        arguments = await _arguments(request)

        def answer() -> Response:
            try:
                slack.authorise(_token(request, arguments))
                if method not in methods:
                    raise SlackError("unknown_method", req_method=method)
                return JSONResponse({"ok": True, **methods[method](arguments)})
            except SlackError as exc:
                return JSONResponse({"ok": False, "error": exc.code, **exc.details})
            except RateLimited as exc:
                return _rate_limited(exc.seconds)

        return await with_faults(request, method, _where(slack, arguments), answer)

    @router.post(WEBHOOK_PATH + "/{secret}", summary="An incoming webhook")
    async def webhook(secret: str, request: Request) -> Response:
        arguments = await _arguments(request)

        def answer() -> Response:
            if secret != webhook_secret:
                return PlainTextResponse("invalid_token", status_code=403)
            if not arguments:
                return PlainTextResponse("invalid_payload", status_code=400)
            try:
                slack.post({**arguments, "channel": webhook_channel, "metadata": None}, via_webhook=True)
            except SlackError as exc:
                return PlainTextResponse(exc.code, status_code=404 if exc.code == "channel_not_found" else 400)
            except RateLimited as exc:
                return _rate_limited(exc.seconds)
            return PlainTextResponse("ok")

        return await with_faults(request, "webhook", webhook_channel, answer)

    return router


async def _failing(request: Request, fault: Fault) -> Response:
    match fault.kind:
        case FaultKind.RATE_LIMITED:
            return _rate_limited(fault.retry_after_seconds)
        case FaultKind.SERVER_ERROR:
            return PlainTextResponse("upstream connect error", status_code=fault.status)
        case FaultKind.SLACK_ERROR | FaultKind.SMTP_REPLY:
            return JSONResponse({"ok": False, "error": fault.slack_error})
        case FaultKind.DROP_BEFORE | FaultKind.DROP_AFTER:
            await drop(request)
        case FaultKind.HANG_BEFORE | FaultKind.HANG_AFTER:
            await gone(request)
    return NoAnswer()


def _rate_limited(seconds: int) -> Response:
    body = {"ok": False, "error": "ratelimited"}
    return JSONResponse(body, status_code=429, headers={"Retry-After": str(seconds)})


async def _arguments(request: Request) -> dict[str, Any]:
    """A call's arguments from the query, a form or JSON, wherever the client put them."""
    arguments: dict[str, Any] = dict(request.query_params)
    body = await request.body()
    kind = request.headers.get("content-type", "")
    if body and "json" in kind:
        try:
            parsed = json.loads(body)
        except ValueError:
            return {}
        return arguments | parsed if isinstance(parsed, dict) else {}
    if body:
        form: FormData = await request.form()
        arguments |= {name: value for name, value in form.items() if isinstance(value, str)}
        if isinstance(payload := arguments.pop("payload", None), str):
            arguments |= json.loads(payload)
    return arguments


def _token(request: Request, arguments: dict[str, Any]) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else arguments.get("token")


def _where(slack: Slack, arguments: dict[str, Any]) -> str:
    try:
        return slack.name_of(arguments.get("channel"))
    except SlackError:
        return ""
