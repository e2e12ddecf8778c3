"""Addresses of PostgreSQL whose password comes by itself, and the address of the owner, which no service has."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from libs.common.errors import NotStarted
from libs.common.secret_files import secrets_by_file

OWNER_URL, OWNER_PASSWORD = "KIZASHI_OWNER_DATABASE_URL", "KIZASHI_OWNER_DATABASE_PASSWORD"


def with_password(url: str, password: str) -> str:
    """Raises ValueError when the address names no user, or has a password already."""
    found = re.fullmatch(r"(postgresql://[^:@/?]+)@(.*)", url)
    if found is None:
        raise ValueError(
            "must begin with postgresql://user@, without a password, since the password is given by itself"
        )
    return f"{found[1]}:{quote(password, safe='')}@{found[2]}"


def owner_database_url() -> str:
    """The database as its owner, for what makes or changes the schema. Raises NotStarted."""
    given = {**os.environ, **secrets_by_file()}
    url = given.get(OWNER_URL)
    if not url:
        raise NotStarted(f"{OWNER_URL} is not set; it names the database as its owner.")
    try:
        return with_password(url, given[OWNER_PASSWORD]) if given.get(OWNER_PASSWORD) else url
    except ValueError as exc:
        raise NotStarted(f"{OWNER_URL} {exc}.") from exc
