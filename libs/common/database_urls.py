"""Addresses of PostgreSQL: with a password that comes by itself, of the owner, whom no service has, and to be shown."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

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


def place_of(url: str) -> str:
    """«localhost:5432/kizashi»: the address without whatever may be a secret, read as the services read it."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return "the address that is set"
    host = parts.host or parts.query.get("host", "this machine")
    # An @ in a password must be written %40; one that is not leaves its end before the host.
    host = (host if isinstance(host, str) else host[0]).rpartition("@")[2]
    return f"{host}{f':{parts.port}' if parts.port else ''}/{parts.database or ''}"
