"""What every service's application promises: error bodies, request ids, limits, probes, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter
from pydantic import BaseModel

from libs.common.errors import Refused, RetryLater
from libs.common.web import Probes, make_app


class Body(BaseModel):
    number: int


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
async def client(probes: Probes) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app("Sample", "Nothing", probes, max_body_bytes=1000, paths_with_own_limit={"/own"})

    @app.post("/numbers")
    async def numbers(body: Body) -> Body:
        return body

    @app.post("/own")
    async def own(body: dict[str, str]) -> int:
        return len(body)

    several = APIRouter(prefix="/several")

    @several.get("/{name}")
    @several.post("/{name}")
    async def named(name: int) -> int:
        return name

    @several.delete("/last")
    async def last() -> None: ...

    app.include_router(several)

    @app.get("/items/{item}")
    async def items(item: str) -> None:
        errors = {
            "refused": Refused(409, "taken", "Somebody has it.", taken_by=7),
            "slow_down": Refused(429, "too_many", "Slower.", retry_after=17),
            "later": RetryLater("the database sleeps"),
            "defect": ZeroDivisionError("secret detail"),
        }
        raise errors[item]

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sample") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "allowed"), [("/numbers", "POST"), ("/several/1", "GET, POST"), ("/several/last", "GET, POST, DELETE")]
)
async def test_whoever_uses_a_wrong_method_is_told_all_right_ones(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    answer = await client.patch(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/numbers", 405, "method_not_allowed"),
        ("GET", "/numbers/", 404, "not_found"),
        ("GET", "/items/refused", 409, "taken"),
        ("GET", "/items/slow_down", 429, "too_many"),
        ("GET", "/items/later", 503, "unavailable"),
        ("GET", "/items/defect", 500, "internal_error"),
    ],
)
async def test_every_error_has_one_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["code"], body["success"]) == (status, code, False)
    assert isinstance(body["message"], str)
    assert "secret" not in answer.text
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize("body", ["", "{", "[]", '{"number":"x"}', "null"])
async def test_a_wrong_body_is_told_where_it_is_wrong(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.post("/numbers", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["message"].startswith("body")


async def test_details_and_retry_after_reach_the_caller(client: httpx.AsyncClient) -> None:
    assert (await client.get("/items/refused")).json()["taken_by"] == 7
    assert (await client.get("/items/slow_down")).headers["retry-after"] == "17"
    assert (await client.get("/items/later")).headers["retry-after"] == "5"
    assert (await client.get("/numbers")).headers["allow"] == "POST"


async def test_a_body_is_limited_by_what_arrives(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    answer = await client.post("/numbers", content=chunks(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"], answer.json()["limit_bytes"]) == (413, "body_too_large", 1000)
    assert (await client.post("/own", json={"x": "y" * 5000})).json() == 1


@pytest.mark.parametrize(("sent", "kept"), [("abc-1.2_X", True), ("a" * 65, False), ("a b", False), ("", False)])
async def test_a_sensible_request_id_is_kept(client: httpx.AsyncClient, sent: str, kept: bool) -> None:
    answer = await client.get("/livez", headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept


async def test_probes_tell_what_is_wrong(client: httpx.AsyncClient, probes: Probes) -> None:
    async def missing() -> str | None:
        return "the log is missing"

    async def broken() -> str | None:
        raise ValueError("the check is broken")

    async def hanging() -> str | None:
        await asyncio.Event().wait()
        return None

    assert (await client.get("/readyz")).json() == {"ready": True, "problems": []}
    probes.ready += [missing, broken, hanging]
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == [
        "the log is missing",
        "a check failed: the check is broken",
        "a check did not answer within 2 s",
    ]
    assert (await client.get("/livez")).status_code == 200
    probes.live.append(missing)
    assert (await client.get("/livez")).status_code == 503
    probes.starting = True
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/readyz")).json()["problems"] == ["still starting"]
    probes.stopping = True
    assert (await client.get("/readyz")).json()["problems"] == ["stopping"]


async def test_answers_are_counted_by_route_and_never_by_what_a_client_makes_up(client: httpx.AsyncClient) -> None:
    await client.get("/items/refused")
    await client.request("INVENTED", "/made/up")
    counted = (await client.get("/metrics")).text
    assert 'kizashi_http_requests_total{method="GET",route="/items/{item}",status="409"}' in counted
    assert 'kizashi_http_requests_total{method="other",route="none",status="404"}' in counted
    assert "made/up" not in counted
    assert "INVENTED" not in counted


async def test_the_schema_shows_our_errors_and_not_the_frameworks(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    responses = schema["paths"]["/numbers"]["post"]["responses"]
    assert set(responses) == {"200", "default"}
    assert "HTTPValidationError" not in str(schema)
