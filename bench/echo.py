"""python -m bench.echo: takes a body and answers 200, and nothing else; what is left then is the HTTP server."""

from __future__ import annotations

import os

from starlette.types import Receive, Scope, Send

from libs.common.runtime import Service, run
from libs.common.web import Probes

BODY = b'{"success":true}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """What ingest answers to everything that is fine, once all of the body has arrived."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def compose() -> Service:
    return Service("echo", app=echo, probes=Probes(), host="127.0.0.1", port=int(os.environ["KIZASHI_ECHO_PORT"]))


if __name__ == "__main__":
    run(compose)
