"""What Slack's answers mean for a delivery: taken, later, never, or nobody knows."""

from __future__ import annotations

from services.notify.domain.outcomes import Deferred, Lost, Refused

RATE_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
SOMEBODY_MUST_MEND = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "token_expired",
        "token_revoked",
        "account_inactive",
        "missing_scope",
        "no_permission",
        "not_allowed_token_type",
        "ekm_access_denied",
        "org_login_required",
        "team_access_not_granted",
        "accesslimited",
        "not_in_channel",
    }
)
"""Nothing was posted and nothing is wrong with the message: an administrator can make it go within the day."""
PASSING = frozenset({"team_added_to_org", "request_timeout"})
UNDECIDED = frozenset({"internal_error", "fatal_error", "service_unavailable"})
"""Part of the call may have happened: Slack says so of the first two."""
RETRY_AFTER_MOST_SECONDS = 3600.0
RETRY_AFTER_DEFAULT_SECONDS = 30.0


def outcome_of(status: int, error: str | None, retry_after: str | None) -> Deferred | Refused | Lost:
    """Of an answer that is not a success: HTTP status, Slack's error code if there is one, the Retry-After header.

    Any 5xx is open: proxies also answer so when the connection behind them broke after the message was taken.
    """
    if status == 429 or error in RATE_LIMITED:
        return Deferred("rate_limited", whole_channel=True, retry_after_seconds=_seconds(retry_after))
    if status >= 500 or error in UNDECIDED:
        return Lost(error or f"http_{status}")
    if error in PASSING or error in SOMEBODY_MUST_MEND:
        return Deferred(error or "", whole_channel=True)
    if error:
        return Refused(error[:100])
    return Refused(f"http_{status}") if status >= 400 else Lost(f"http_{status}")


def _seconds(retry_after: str | None) -> float:
    try:
        return min(RETRY_AFTER_MOST_SECONDS, max(0.0, float(retry_after or "")))
    except ValueError:
        return RETRY_AFTER_DEFAULT_SECONDS
