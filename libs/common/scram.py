"""What PostgreSQL keeps of a password, made here, so that the password itself is in no statement, log or statistic."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64encode

ITERATIONS = 4096
"""As PostgreSQL's own; a password that is worth the name has more bits than iterations could add."""


def scram_verifier(password: str) -> str:
    """SCRAM-SHA-256$iterations:salt$stored:server, as RFC 5803 and pg_authid write it.

    Raises ValueError for what two programs might prepare differently before hashing it.
    """
    if not password or not (password.isascii() and password.isprintable()):
        raise ValueError("must be of printable ASCII characters")
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client_key, server_key = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    stored_key = hashlib.sha256(client_key).digest()
    salt_64, stored_64, server_64 = (b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${ITERATIONS}:{salt_64}${stored_64}:{server_64}"
