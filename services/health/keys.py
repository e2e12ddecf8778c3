"""User keys: users, anonymous visitors and machines told apart in one column, so that no id means two things."""

from __future__ import annotations

NOBODY = ""
"""The key of calls that name an account but no user: machines, such as billing."""
_USER, _ANONYMOUS = "u:", "a:"


def user(user_id: str) -> str:
    return _USER + user_id


def anonymous(anonymous_id: str) -> str:
    return _ANONYMOUS + anonymous_id


def who(user_id: str | None, anonymous_id: str | None) -> str:
    """The key of a call: of its user, else of its anonymous visitor, else of nobody."""
    if user_id:
        return user(user_id)
    return anonymous(anonymous_id) if anonymous_id else NOBODY


def original_id(key: str) -> str:
    """The id as the product sent it."""
    return key[2:]
