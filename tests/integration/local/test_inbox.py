"""The inbox behaves like Slack and like a mail server, seen by the clients that notify really uses."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import httpx
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from deploy.local.inbox.faults import Fault, FaultKind
from deploy.local.inbox.server import Inbox, running_inbox
from deploy.local.inbox.slack import MESSAGE_BURST
from libs.common.errors import NotStarted
from tests.certificates import self_signed

METADATA: dict[str, Any] = {"event_type": "kizashi_delivery", "event_payload": {"delivery_id": "d-1"}}


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    async with running_inbox(tmp_path / "inbox.jsonl") as running:
        yield running


def bot(inbox: Inbox, token: str | None = None) -> AsyncWebClient:
    return AsyncWebClient(token=token or inbox.slack_token, base_url=inbox.slack_api_url, retry_handlers=[], timeout=5)


def mail(to: str = "ana@small.example") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Kizashi <care@kizashi.example>"
    message["To"] = to
    message["Subject"] = "お元気ですか – we miss you"
    message["Message-ID"] = "<touch-1@kizashi.example>"
    message.set_content("Plain words.")
    message.add_alternative("<p>Words in <b>HTML</b>.</p>", subtype="html")
    return message


async def send(inbox: Inbox, message: EmailMessage, **options: Any) -> str:
    _, answer = await aiosmtplib.send(message, hostname="127.0.0.1", port=inbox.smtp_port, timeout=5, **options)
    return answer


async def error_of(call: Any) -> str:
    with pytest.raises(SlackApiError) as refusal:
        await call
    return str(refusal.value.response["error"])


# --- Slack -----------------------------------------------------------------------------------------------------------


async def test_a_post_is_found_again_by_its_metadata_only_when_asked_for(inbox: Inbox) -> None:
    slack = bot(inbox)
    posted = await slack.chat_postMessage(channel="#cs-alerts", text="Tanaka Robotics", metadata=METADATA)
    assert str(posted["channel"]).startswith("C")
    plain = await slack.conversations_history(channel=posted["channel"])
    full = await slack.conversations_history(channel=posted["channel"], include_all_metadata=True)
    assert "metadata" not in plain["messages"][0]
    assert full["messages"][0]["metadata"] == METADATA
    assert full["messages"][0]["ts"] == posted["ts"]


async def test_an_update_changes_the_message_in_place_and_keeps_its_metadata(inbox: Inbox) -> None:
    slack = bot(inbox)
    posted = await slack.chat_postMessage(channel="cs-alerts", text="yellow", metadata=METADATA)
    await slack.chat_update(channel=posted["channel"], ts=posted["ts"], text="red")
    history = await slack.conversations_history(channel=posted["channel"], include_all_metadata=True)
    assert [(one["text"], one["metadata"]) for one in history["messages"]] == [("red", METADATA)]
    assert await error_of(slack.chat_update(channel=posted["channel"], ts="1.000001", text="x")) == "message_not_found"
    assert await error_of(slack.chat_update(channel="#cs-alerts", ts=posted["ts"], text="x")) == "channel_not_found"


async def test_a_channel_is_found_by_its_name_in_pages() -> None:
    async with running_inbox(slack_channels=frozenset({"alerts", "pool", "quiet"})) as inbox:
        first = await bot(inbox).conversations_list(limit=2)
        rest = await bot(inbox).conversations_list(limit=2, cursor=first["response_metadata"]["next_cursor"])
        found = {channel["name"]: channel["id"] for channel in [*first["channels"], *rest["channels"]]}
        posted = await bot(inbox).chat_postMessage(channel="#pool", text="Hello")
    assert rest["response_metadata"]["next_cursor"] == ""
    assert sorted(found) == ["alerts", "pool", "quiet"]
    assert found["pool"] == posted["channel"]


async def test_history_is_newest_first_in_pages_and_without_replies(inbox: Inbox) -> None:
    slack = bot(inbox)
    first = await slack.chat_postMessage(channel="#a", text="one")
    await slack.chat_postMessage(channel="#a", text="reply", thread_ts=first["ts"])
    await slack.chat_postMessage(channel="#a", text="two")
    page = await slack.conversations_history(channel=first["channel"], limit=1)
    assert [one["text"] for one in page["messages"]] == ["two"]
    assert page["has_more"]
    rest = await slack.conversations_history(
        channel=first["channel"], limit=9, cursor=page["response_metadata"]["next_cursor"]
    )
    assert [one["text"] for one in rest["messages"]] == ["one"]
    since = await slack.conversations_history(channel=first["channel"], oldest=first["ts"])
    assert [one["text"] for one in since["messages"]] == ["two"]
    thread = await slack.conversations_replies(channel=first["channel"], ts=first["ts"])
    assert [one["text"] for one in thread["messages"]] == ["one", "reply"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": "#No Such Channel"}, "channel_not_found"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "marquee"}]}, "invalid_blocks"),
        ({"blocks": [{"type": "divider", "block_id": "b"}, {"type": "divider", "block_id": "b"}]}, "invalid_blocks"),
        (
            {
                "blocks": [
                    {
                        "type": "actions",
                        "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x" * 76}}],
                    }
                ]
            },
            "invalid_blocks",
        ),
        ({"metadata": {"event_type": "x"}}, "invalid_metadata_format"),
        ({"metadata": {"event_type": "x", "event_payload": {"a": "y" * 20_000}}}, "metadata_too_large"),
    ],
)
async def test_slack_refuses_what_slack_refuses(inbox: Inbox, arguments: dict[str, Any], error: str) -> None:
    assert await error_of(bot(inbox).chat_postMessage(**{"channel": "#a", "text": "words", **arguments})) == error
    assert inbox.messages.all() == []


async def test_a_message_without_any_content_is_refused(inbox: Inbox) -> None:
    assert await error_of(bot(inbox).api_call("chat.postMessage", json={"channel": "#a"})) == "no_text"


async def test_slack_says_which_block_is_wrong(inbox: Inbox) -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "divider"},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}},
    ]
    with pytest.raises(SlackApiError) as refusal:
        await bot(inbox).chat_postMessage(channel="#a", text="x", blocks=blocks)
    assert refusal.value.response["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/1/text/text]"
    ]


async def test_a_wrong_token_is_refused(inbox: Inbox) -> None:
    assert await error_of(bot(inbox, "xoxb-other").chat_postMessage(channel="#a", text="x")) == "invalid_auth"


async def test_more_than_a_burst_to_one_channel_is_429_and_other_channels_are_free(inbox: Inbox) -> None:
    slack = bot(inbox)
    stamps = [(await slack.chat_postMessage(channel="#a", text=str(n)))["ts"] for n in range(MESSAGE_BURST)]
    with pytest.raises(SlackApiError) as refusal:
        await slack.chat_postMessage(channel="#a", text="too many")
    assert refusal.value.response.status_code == 429
    assert refusal.value.response.headers["Retry-After"] == "1"
    await slack.chat_postMessage(channel="#b", text="another channel")
    assert stamps == sorted(set(stamps))
    assert len(inbox.messages.slack()) == MESSAGE_BURST + 1


async def test_an_incoming_webhook_accepts_and_refuses(inbox: Inbox) -> None:
    webhook = AsyncWebhookClient(inbox.slack_webhook_url, retry_handlers=[])
    accepted = await webhook.send(text="hello")
    refused = await webhook.send(blocks=[{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}])
    assert (accepted.status_code, accepted.body) == (200, "ok")
    assert (refused.status_code, refused.body) == (400, "invalid_blocks")
    wrong = await AsyncWebhookClient(inbox.slack_webhook_url + "x", retry_handlers=[]).send(text="hello")
    assert (wrong.status_code, wrong.body) == (403, "invalid_token")
    assert [(one.via, one.text) for one in inbox.messages.slack()] == [("incoming_webhook", "hello")]


@pytest.mark.parametrize(
    ("kind", "kept"), [(FaultKind.DROP_BEFORE, 0), (FaultKind.DROP_AFTER, 1), (FaultKind.HANG_AFTER, 1)]
)
async def test_a_lost_answer_is_not_always_a_lost_message(inbox: Inbox, kind: FaultKind, kept: int) -> None:
    inbox.faults.add(Fault(target="slack", kind=kind))
    slack = AsyncWebClient(
        token=inbox.slack_token, base_url=inbox.slack_api_url, retry_handlers=[], timeout=1 if "hang" in kind else 5
    )
    with pytest.raises((OSError, TimeoutError, aiohttp.ClientError)):
        await slack.chat_postMessage(channel="#a", text="x")
    assert len(inbox.messages.slack()) == kept
    await slack.chat_postMessage(channel="#a", text="again")
    assert len(inbox.messages.slack()) == kept + 1


async def test_faults_are_asked_for_over_http_and_meet_only_their_target(inbox: Inbox) -> None:
    async with httpx.AsyncClient(base_url=inbox.url) as http:
        fault = {"target": "slack", "kind": "rate_limited", "where": "#a", "times": 2, "retry_after_seconds": 7}
        assert (await http.post("/v1/faults", json=fault)).json()[0]["times"] == 2
    slack = bot(inbox)
    await slack.chat_postMessage(channel="#b", text="not meant")
    for _ in range(2):
        with pytest.raises(SlackApiError) as refusal:
            await slack.chat_postMessage(channel="#a", text="x")
        assert refusal.value.response.headers["Retry-After"] == "7"
    await slack.chat_postMessage(channel="#a", text="x")
    assert inbox.faults.planned == []


# --- mail ------------------------------------------------------------------------------------------------------------


async def test_mail_is_kept_with_both_parts_and_its_headers(inbox: Inbox) -> None:
    await send(inbox, mail())
    (kept,) = inbox.messages.emails()
    assert kept.recipients == ["ana@small.example"]
    assert kept.message_id == "<touch-1@kizashi.example>"
    assert kept.subject == "お元気ですか – we miss you"
    assert (kept.text.strip(), kept.html.strip()) == ("Plain words.", "<p>Words in <b>HTML</b>.</p>")


async def test_smtp_refusals_are_the_servers_own_words(inbox: Inbox) -> None:
    inbox.faults.add(
        Fault(target="smtp", kind=FaultKind.SMTP_REPLY, method="RCPT", smtp_reply="550 5.1.1 No such user")
    )
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refusal:
        await send(inbox, mail())
    assert refusal.value.recipients[0].code == 550
    inbox.faults.add(Fault(target="smtp", kind=FaultKind.SMTP_REPLY))
    with pytest.raises(aiosmtplib.SMTPDataError) as later:
        await send(inbox, mail())
    assert later.value.code == 451
    assert inbox.messages.emails() == []


@pytest.mark.parametrize(("kind", "kept"), [(FaultKind.DROP_BEFORE, 0), (FaultKind.DROP_AFTER, 1)])
async def test_a_mail_connection_may_be_cut_before_or_after_acceptance(
    inbox: Inbox, kind: FaultKind, kept: int
) -> None:
    inbox.faults.add(Fault(target="smtp", kind=kind))
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await send(inbox, mail())
    assert len(inbox.messages.emails()) == kept


async def test_starttls_and_a_login_can_be_demanded(tmp_path: Path) -> None:
    shown, trusted = self_signed(tmp_path)
    async with running_inbox(smtp_tls=shown, smtp_login=("care", "right")) as inbox:
        tls = {"cert_bundle": str(trusted), "start_tls": True}
        with pytest.raises(aiosmtplib.SMTPResponseException):
            await send(inbox, mail(), start_tls=False)
        with pytest.raises(ssl.SSLCertVerificationError):
            await send(inbox, mail(), start_tls=True)
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await send(inbox, mail(), username="care", password="wrong", **tls)
        await send(inbox, mail(), username="care", password="right", **tls)
        assert len(inbox.messages.emails()) == 1


# --- what was delivered ----------------------------------------------------------------------------------------------


async def test_a_restart_keeps_what_was_delivered_and_half_a_line_does_no_harm(tmp_path: Path) -> None:
    journal = tmp_path / "inbox.jsonl"
    async with running_inbox(journal) as inbox:
        posted = await bot(inbox).chat_postMessage(channel="#a", text="yellow")
        await bot(inbox).chat_update(channel=posted["channel"], ts=posted["ts"], text="red")
        await send(inbox, mail())
    with journal.open("ab") as file:
        file.write(b'{"channel":"slack","id":"C1-1.0","rec')
    async with running_inbox(journal) as inbox:
        assert [(one.text, one.edits) for one in inbox.messages.slack()] == [("red", 1)]
        assert len(inbox.messages.emails()) == 1
        again = await bot(inbox).chat_postMessage(channel="#a", text="later")
        assert again["ts"] > posted["ts"]
        await bot(inbox).chat_update(channel=posted["channel"], ts=posted["ts"], text="green")
    async with running_inbox(journal) as inbox:
        assert [one.text for one in inbox.messages.slack()] == ["green", "later"]


async def test_the_api_lists_what_is_new_and_the_page_is_one_file(inbox: Inbox) -> None:
    await bot(inbox).chat_postMessage(channel="#a", text="one")
    await send(inbox, mail())
    async with httpx.AsyncClient(base_url=inbox.url) as http:
        everything = (await http.get("/v1/messages")).json()
        assert [one["channel"] for one in everything["messages"]] == ["slack", "email"]
        newer = (await http.get("/v1/messages", params={"after": everything["messages"][0]["seq"]})).json()
        assert [one["channel"] for one in newer["messages"]] == ["email"]
        source = await http.get(f"/v1/messages/{newer['messages'][0]['id']}/source")
        assert "Message-ID: <touch-1@kizashi.example>" in source.text
        assert (await http.get("/v1/messages/nothing/source")).status_code == 404
        page = await http.get("/")
        assert "src=" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_a_port_in_use_is_one_sentence(inbox: Inbox) -> None:
    port = int(inbox.url.rsplit(":", 1)[1])
    with pytest.raises(NotStarted, match=f"127.0.0.1:{port}"):
        async with running_inbox(port=port):
            pass
