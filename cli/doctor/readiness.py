"""What the services say of themselves at ``/readyz``, which asks for no key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from cli.apis import url_variable
from cli.doctor.findings import Finding, ok, problem, warning
from cli.doctor.surroundings import Address
from cli.printing import plain

ANSWER_SECONDS = 6.0
"""More than a probe takes whose own checks all run out of time."""


@dataclass(frozen=True)
class Answer:
    """``problems`` as the service tells them; None when it did not answer, ``why`` then says how. ``is_slow``: somebody
    listens there."""

    problems: Sequence[str] | None
    why: str = ""
    is_slow: bool = False


async def ask(addresses: Mapping[str, Address]) -> Mapping[str, Answer]:
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http:
        answers = await asyncio.gather(*(_ask(http, address.url) for address in addresses.values()))
    return dict(zip(addresses, answers, strict=True))


async def _ask(http: httpx.AsyncClient, url: str) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            found = (await http.get(f"{url}/readyz")).json()
        return Answer([] if found["ready"] else [plain(one) for one in found["problems"]])
    except TimeoutError:
        return _slow()
    except httpx.ConnectError:
        return Answer(None, "nobody listens there")
    except httpx.TimeoutException:
        return _slow()
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return Answer(None, str(exc) or type(exc).__name__)
    except (ValueError, LookupError, TypeError):
        return Answer(None, "something else answers there")


def _slow() -> Answer:
    return Answer(None, f"no answer within {ANSWER_SECONDS:.0f} s", is_slow=True)


def judge(service: str, address: Address, answer: Answer) -> Finding:
    if answer.problems is None:
        sentence = f"{service} does not answer at {address.url} ({answer.why})."
        if answer.is_slow:
            remedy = "It is frozen or overloaded, or waits for something that is: mend that first, then restart it."
            return problem("service_slow", sentence, remedy, about=service)
        if address.is_known:
            remedy = f"Start it; its log says why it ended. Or correct {url_variable(service)}."
            return problem("service_away", sentence, remedy, about=service)
        remedy = f"If it runs elsewhere, say where by {url_variable(service)}."
        return warning("service_unseen", sentence, remedy, about=service)
    if answer.problems:
        return problem("service_unready", f"{service} is not ready: {'; '.join(answer.problems)}.", about=service)
    return ok("service", f"{service} is ready at {address.url}.", about=service)
