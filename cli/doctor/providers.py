"""Slack and the mail server: whether they let notify in. Nothing is sent to anybody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress

import aiosmtplib
import httpx

from cli.doctor.findings import Finding, ok, problem, warning
from cli.printing import plain
from services.notify.settings import NotifySettings

ANSWER_SECONDS = 5.0
CLOSE_SECONDS = 0.02
"""For asyncio to close the connection of a handshake that failed: it does so some turns of its loop later."""
SCOPES = {"chat:write", "channels:read", "channels:history"}


async def look(settings: NotifySettings) -> Sequence[Finding]:
    return await asyncio.gather(_slack(settings), _mail(settings))


async def _slack(settings: NotifySettings) -> Finding:
    token = settings.notify_slack_bot_token
    if token is None:
        if settings.notify_slack_webhook_url is not None:
            return ok("slack", "Slack goes by an incoming webhook, which only a message can try; none was sent.")
        return warning(
            "slack_not_set_up",
            "No Slack is set up here: what should go there waits for a day, and is given up then.",
            "Set KIZASHI_NOTIFY_SLACK_BOT_TOKEN, or look where notify's settings are.",
        )
    url = f"{settings.notify_slack_api_url.rstrip('/')}/auth.test"
    try:
        async with asyncio.timeout(ANSWER_SECONDS), httpx.AsyncClient(timeout=ANSWER_SECONDS) as http:
            answer = await http.post(url, headers={"Authorization": f"Bearer {token.get_secret_value()}"})
            said = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as exc:
        why = "no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__
        return problem(
            "slack_away", f"Slack does not answer at {settings.notify_slack_api_url} ({why}).", "Mend the way out."
        )
    return judge_slack(said, answer.headers.get("x-oauth-scopes"))


def judge_slack(said: object, scopes: str | None) -> Finding:
    """The answer of auth.test, and the scopes that Slack names beside it."""
    found = said if isinstance(said, dict) else {}
    if not found.get("ok"):
        return problem(
            "slack_refuses",
            f"Slack refuses the bot's token ({plain(found.get('error', 'no reason given'))}).",
            "Install the app in the workspace again and correct KIZASHI_NOTIFY_SLACK_BOT_TOKEN.",
        )
    missing = SCOPES - {scope.strip() for scope in scopes.split(",")} if scopes is not None else set()
    if missing:
        return problem(
            "slack_scopes",
            f"Slack's token lacks the scopes {', '.join(sorted(missing))}.",
            "Add them to the app, install it in the workspace again, and give notify the new token.",
        )
    return ok(
        "slack", f"Slack lets {plain(found.get('user', 'the bot'))} into {plain(found.get('team', 'its workspace'))}."
    )


async def _mail(settings: NotifySettings) -> Finding:
    if settings.notify_smtp_host is None:
        return warning(
            "mail_not_set_up",
            "No mail server is set up here: what should go by mail waits for a day, and is given up then.",
            "Set KIZASHI_NOTIFY_SMTP_HOST, or look where notify's settings are.",
        )
    place = f"{settings.notify_smtp_host}:{settings.notify_smtp_port}"
    password = settings.notify_smtp_password
    context = ssl.create_default_context()
    client: aiosmtplib.SMTP | None = None
    try:
        if settings.notify_smtp_ca_file is not None:
            context.load_verify_locations(settings.notify_smtp_ca_file)
        client = aiosmtplib.SMTP(
            hostname=settings.notify_smtp_host,
            port=settings.notify_smtp_port,
            username=settings.notify_smtp_username,
            password=password.get_secret_value() if password is not None else None,
            use_tls=settings.notify_smtp_tls == "tls",
            start_tls=settings.notify_smtp_tls == "starttls",
            tls_context=context if settings.notify_smtp_tls != "none" else None,
            timeout=ANSWER_SECONDS,
        )
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.connect()  # greets, begins TLS and logs in
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=1)
    except (aiosmtplib.SMTPException, OSError, ValueError) as exc:  # TimeoutError and ssl.SSLError are OSErrors
        await asyncio.sleep(CLOSE_SECONDS)
        return judge_mail(place, settings.notify_smtp_tls, exc)
    finally:
        if client is not None:
            client.close()
    secured = {"starttls": "by STARTTLS", "tls": "by TLS", "none": "without TLS"}[settings.notify_smtp_tls]
    login = f" as {settings.notify_smtp_username}" if settings.notify_smtp_username else ""
    return ok("mail", f"The mail server at {place} lets us in{login}, {secured}.")


def judge_mail(place: str, tls: str, exc: BaseException) -> Finding:
    if isinstance(exc, aiosmtplib.SMTPAuthenticationError):
        return problem(
            "mail_refuses",
            f"The mail server at {place} refuses the log-in ({exc.code}).",
            "Correct KIZASHI_NOTIFY_SMTP_USERNAME and KIZASHI_NOTIFY_SMTP_PASSWORD.",
        )
    certificate = next((one for one in _causes(exc) if isinstance(one, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return problem(
            "mail_certificate",
            f"The mail server at {place} shows a certificate that is not trusted ({certificate.verify_message}).",
            "Call the host as the certificate does, or set KIZASHI_NOTIFY_SMTP_CA_FILE to who signed it.",
        )
    if isinstance(exc, FileNotFoundError) or (isinstance(exc, ssl.SSLError) and exc.reason is None):
        return problem(
            "mail_ca_file", "KIZASHI_NOTIFY_SMTP_CA_FILE cannot be used.", "It must be a file of certificates in PEM."
        )
    why = "no answer in time" if isinstance(exc, TimeoutError) else plain(exc) or type(exc).__name__
    return problem(
        "mail_away",
        f"The mail server at {place} cannot be talked to ({why}).",
        f"Correct KIZASHI_NOTIFY_SMTP_HOST, _PORT and _TLS (now {tls}), or mend the way out.",
    )


def _causes(exc: BaseException | None) -> list[BaseException]:
    found = []
    while exc is not None:
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found
