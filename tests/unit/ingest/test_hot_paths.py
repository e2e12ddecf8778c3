"""What takes events answers as every other route does, whatever becomes of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from libs.common.errors import Refused, RetryLater
from libs.common.web import Probes, make_app
from services.ingest.bodies import ClientLeft
from services.ingest.collector import ALL_TAKEN
from services.ingest.cors import Cors
from services.ingest.hot_paths import Collect, HotPaths, hot_paths
from services.ingest.paths import Incoming

OUTCOMES: dict[bytes, bytes | Exception] = {
    b"taken": ALL_TAKEN,
    b"partly": b'{"success":true,"accepted":1}',
    b"refused": Refused(400, "strict_mode", "No.", rejected=1),
    b"quota": Refused(429, "over_quota", "Slower.", retry_after=17),
    b"later": RetryLater("the database sleeps"),
    b"defect": ZeroDivisionError("secret detail"),
}
ORIGIN = {"origin": "https://shop.example"}


async def collect(incoming: Incoming) -> bytes:
    outcome = OUTCOMES[incoming.query]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def around(collect: Collect) -> HotPaths:
    app = make_app("Sample", "Nothing", Probes())
    hot = hot_paths(collect, app.exception_handlers)
    app.router.routes[:0] = [path.as_route() for path in hot]
    app.add_middleware(Cors)
    _with_the_same_outcomes(app)
    return HotPaths(hot, app)


def _with_the_same_outcomes(app: FastAPI) -> None:
    @app.post("/other")
    async def other(what: str) -> None:
        outcome = OUTCOMES[what.encode()]
        if isinstance(outcome, Exception):
            raise outcome


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(around(collect))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        yield client


@pytest.mark.parametrize("what", ["refused", "quota", "later", "defect"])
async def test_an_error_is_answered_as_on_any_other_route(client: httpx.AsyncClient, what: str) -> None:
    named = {**ORIGIN, "x-request-id": "mine"}
    hot = await client.post(f"/v1/batch?{what}", headers=named)
    other = await client.post(f"/other?what={what}", headers=named)
    assert (hot.status_code, hot.json(), dict(hot.headers)) == (other.status_code, other.json(), dict(other.headers))
    assert "secret" not in hot.text


async def test_success_is_200_and_204_where_a_path_says_so_and_there_is_nothing_to_say(
    client: httpx.AsyncClient,
) -> None:
    for path, what, status in [
        ("/v1/batch", "taken", 200),
        ("/v1/batch/", "partly", 200),
        ("/api/v1/events", "taken", 204),
        ("/api/v1/events", "partly", 200),
    ]:
        answer = await client.post(f"{path}?{what}", headers=ORIGIN)
        assert (answer.status_code, answer.content) == (status, b"" if status == 204 else OUTCOMES[what.encode()])
        assert len(answer.headers["x-request-id"]) == 32
        assert answer.headers["access-control-allow-origin"] == ORIGIN["origin"]


async def test_another_method_is_refused_with_the_one_that_is_taken(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/batch")
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")


async def test_answers_are_counted_by_path(client: httpx.AsyncClient) -> None:
    await client.post("/v1/b?quota")
    await client.post("/v1/b/?later")
    await client.get("/v1/b/")
    counted = (await client.get("/metrics")).text
    for method, status in [("POST", 429), ("POST", 503), ("GET", 405)]:
        assert f'kizashi_http_requests_total{{method="{method}",route="/v1/b",status="{status}"}}' in counted
    assert 'route="/v1/b/"' not in counted


async def test_nobody_is_answered_who_left() -> None:
    sent = []

    async def leave(_incoming: Incoming) -> bytes:
        raise ClientLeft

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/batch", "headers": [], "query_string": b""}
    await around(leave)(scope, receive, send)
    assert sent == []
