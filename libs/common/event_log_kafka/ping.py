"""Why a Kafka cluster cannot be talked to, in a sentence for the operator, as far as a client can tell."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest

from libs.common.errors import NotStarted, RetryLater

CONNECTION = (
    "client_id",
    "request_timeout_ms",
    "ssl_context",
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)
"""Those of a client's arguments that its connections are made with."""
LOOK_SECONDS = 2.0
"""For a second look, by other means, at a broker that hung up."""


async def why_not(arguments: Mapping[str, Any]) -> NotStarted | RetryLater:
    """What the operator should change, asking each broker in the address; or that they do not answer.

    ``arguments`` are a client's.
    """
    reasons = []
    connecting = {name: value for name, value in arguments.items() if name in CONNECTION}
    for host, port, _ in collect_hosts(arguments["bootstrap_servers"], randomize=False):
        try:
            connection = await create_conn(host, port, **connecting)
        except (OSError, KafkaError, ValueError) as exc:
            sentence = await _named(exc, host, port, connecting)
            reasons.append(f"{host}:{port} ({getattr(exc, 'strerror', None) or str(exc) or 'deadline passed'})")
        else:
            wants_login = connecting["security_protocol"] in ("PLAINTEXT", "SSL") and await _wants_login(connection)
            await connection.close()
            sentence = "wants a login; set KIZASHI_LOG_USERNAME and KIZASHI_LOG_PASSWORD" if wants_login else ""
        if sentence:
            return NotStarted(f"Kafka at {host}:{port} {sentence}.")
    return RetryLater(f"the event log's Kafka does not answer at {', '.join(reasons) or 'the moment'}")


async def _named(exc: Exception, host: str, port: int, connecting: Mapping[str, Any]) -> str:
    """The rest of the sentence; empty when the broker is just not there."""
    mechanism = connecting.get("sasl_mechanism", "")
    match exc:
        case SaslAuthenticationFailed():
            return f"refuses the login by {mechanism}; correct KIZASHI_LOG_USERNAME and KIZASHI_LOG_PASSWORD"
        case UnsupportedSaslMechanismError():
            return f"knows no login by {mechanism}; set KIZASHI_LOG_SASL_MECHANISM to one that it knows"
        case IllegalSaslStateError():
            return "knows no login at that port; unset KIZASHI_LOG_USERNAME, or name the port of the listener with SASL"
        case ssl.SSLCertVerificationError():
            return (
                f"shows a certificate that is not trusted ({exc.verify_message}); set KIZASHI_LOG_CA_FILE to the "
                "authority that signed it, or call the host in KIZASHI_LOG_URL as the certificate does"
            )
        case ConnectionRefusedError() | TimeoutError():
            return ""
    if "ssl_context" in connecting:
        if await _speaks_plainly(host, port):
            return "speaks no TLS at that port; unset KIZASHI_LOG_TLS, or name the port of the listener with TLS"
    elif await _speaks_tls(host, port):
        return "speaks TLS at that port; set KIZASHI_LOG_TLS=true"
    return ""


async def _wants_login(connection: AIOKafkaConnection) -> bool:
    """Only a listener with SASL answers the first word of a login other than by saying so."""
    try:
        answer = await connection.send(SaslHandShakeRequest("PLAIN"))
    except (OSError, KafkaError):
        return False
    return bool(answer.enabled_mechanisms)


async def _speaks_plainly(host: str, port: int) -> bool:
    try:
        connection = await create_conn(host, port, request_timeout_ms=int(LOOK_SECONDS * 1000))
    except (OSError, KafkaError):
        return False
    await connection.close()
    return True


async def _speaks_tls(host: str, port: int) -> bool:
    """Whoever completes a handshake does; whether it may be trusted is not the question here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        writer.transport.abort()
    return True
