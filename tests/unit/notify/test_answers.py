"""What providers' answers mean."""

from __future__ import annotations

import aiosmtplib
import pytest

from services.notify import slack_answers, smtp
from services.notify.domain.outcomes import Deferred, Lost, Outcome, Refused


@pytest.mark.parametrize(
    ("status", "error", "retry_after", "expected"),
    [
        (429, "ratelimited", "7", Deferred("rate_limited", whole_channel=True, retry_after_seconds=7)),
        (429, None, "soon", Deferred("rate_limited", whole_channel=True, retry_after_seconds=30)),
        (429, None, "-4", Deferred("rate_limited", whole_channel=True, retry_after_seconds=0)),
        (429, None, "999999", Deferred("rate_limited", whole_channel=True, retry_after_seconds=3600)),
        (200, "ratelimited", None, Deferred("rate_limited", whole_channel=True, retry_after_seconds=30)),
        (200, "fatal_error", None, Lost("fatal_error")),
        (200, "internal_error", None, Lost("internal_error")),
        (500, None, None, Lost("http_500")),
        (500, "rollup_error", None, Lost("rollup_error")),
        (503, None, None, Lost("http_503")),
        (200, None, None, Lost("http_200")),
        (200, "channel_not_found", None, Refused("channel_not_found")),
        (200, "invalid_blocks", None, Refused("invalid_blocks")),
        (410, "channel_is_archived", None, Refused("channel_is_archived")),
        (403, None, None, Refused("http_403")),
        (200, "token_expired", None, Deferred("token_expired", whole_channel=True)),
        (200, "not_in_channel", None, Deferred("not_in_channel", whole_channel=True)),
        (200, "an_error_of_next_year", None, Refused("an_error_of_next_year")),
    ],
)
def test_slack(status: int, error: str | None, retry_after: str | None, expected: Outcome) -> None:
    assert slack_answers.outcome_of(status, error, retry_after) == expected


@pytest.mark.parametrize(
    ("exc", "left", "expected"),
    [
        (aiosmtplib.SMTPRecipientRefused(550, "5.1.1 no such user", "a@b.example"), False, Refused("smtp_550", True)),
        (aiosmtplib.SMTPRecipientRefused(550, "no such user", "a@b.example"), False, Refused("smtp_550", True)),
        (aiosmtplib.SMTPRecipientRefused(550, "5.2.1 disabled", "a@b.example"), False, Refused("smtp_550", True)),
        (aiosmtplib.SMTPRecipientRefused(550, "5.7.1 relaying denied", "a@b.example"), False, Refused("smtp_550")),
        (aiosmtplib.SMTPRecipientRefused(552, "5.2.2 mailbox full", "a@b.example"), False, Refused("smtp_552")),
        (aiosmtplib.SMTPRecipientRefused(450, "4.2.0 greylisted", "a@b.example"), False, Deferred("smtp_450")),
        (aiosmtplib.SMTPSenderRefused(553, "5.1.8 not you", "k@b.example"), False, Refused("smtp_553")),
        (aiosmtplib.SMTPDataError(554, "5.6.0 looks like spam"), True, Refused("smtp_554")),
        (aiosmtplib.SMTPDataError(451, "4.3.0 try again"), True, Deferred("smtp_451")),
        (aiosmtplib.SMTPDataError(299, "what?"), True, Lost("smtp_299")),
        (aiosmtplib.SMTPAuthenticationError(535, "5.7.8 wrong password"), False, Deferred("smtp_535")),
        (aiosmtplib.SMTPConnectResponseError(554, "no service"), False, Deferred("smtp_554")),
        (aiosmtplib.SMTPHeloError(421, "closing"), False, Deferred("smtp_421")),
    ],
)
def test_smtp(exc: aiosmtplib.SMTPResponseException, left: bool, expected: Outcome) -> None:
    assert smtp.outcome_of(exc, left) == expected
