"""One aiokafka client, for questions: made when needed, dropped when in doubt, never waited for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Protocol, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import BrokerResponseError, KafkaConnectionError, KafkaError, RequestTimedOutError, for_code

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log_kafka.ping import why_not
from libs.common.observability import get_logger

logger = get_logger(__name__)

DEADLINE_SECONDS = 5.0
"""For one call, connecting included."""
REQUEST_SECONDS = 4.0
"""For one request of a call: aiokafka drops a connection that answers none in time, so it must notice first."""
HANG_UP_SECONDS = 1.0
AGAIN_SECONDS = 0.1
NO_ERROR = 0
"""Of Kafka's codes."""

T = TypeVar("T")


class NotYet(Exception):
    """Kafka will know in a moment: a leader moves, a topic has just been made."""


def raise_for(error: int, sentence: str) -> None:
    """What Kafka's error code in an answer means for who asked; ``sentence`` says what it could not do."""
    if error == NO_ERROR:
        return
    known = for_code(error)
    if known.retriable:
        raise NotYet(f"{sentence} ({known.__name__})")
    raise RetryLater(f"Kafka {sentence} ({known.__name__})")


class KafkaClient:
    """Asks one question at a time or several.

    After an error of the connection or a missed deadline the client is dropped and the next question makes a new one,
    so this survives restarts of brokers, and states of aiokafka that it does not come out of by itself.

    Once let in, it believes a refusal only when that has stood for ``doubt_seconds``: a broker that has not heard of a
    topic yet, or of a password that was changed, must not end every process at once.
    """

    def __init__(self, arguments: Mapping[str, Any], name: str, doubt_seconds: float = 0.0) -> None:
        self._doubt_seconds = doubt_seconds
        self._arguments = {**arguments, "client_id": name, "request_timeout_ms": int(REQUEST_SECONDS * 1000)}
        self._where = ",".join(arguments["bootstrap_servers"])
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._was_let_in = False
        self._refused_since: float | None = None

    async def ask(self, question: Callable[[AIOKafkaClient], Awaitable[T]]) -> T:
        """Raises RetryLater when Kafka does not answer in time, NotStarted when it lets nobody in like this.

        A question that raises NotYet is asked again until its time is over; one that raises RetryLater had its answer.
        """
        try:
            answer = await self._ask(question)
        except NotStarted as exc:
            now = monotonic()
            if self._refused_since is None:
                self._refused_since = now
            if self._was_let_in and now - self._refused_since < self._doubt_seconds:
                raise RetryLater(str(exc)) from exc
            raise
        self._was_let_in, self._refused_since = True, None
        return answer

    async def _ask(self, question: Callable[[AIOKafkaClient], Awaitable[T]]) -> T:
        if self._closed:
            raise RetryLater("the event log is closed")
        client: AIOKafkaClient | None = None
        not_yet = ""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                client = await self._connected()
                while True:
                    try:
                        return await question(client)
                    except NotYet as exc:
                        not_yet = str(exc)
                    except BrokerResponseError as exc:
                        if not exc.retriable or isinstance(exc, RequestTimedOutError):  # aiokafka's word for no answer
                            raise
                        not_yet = f"says {exc}"
                    await asyncio.sleep(AGAIN_SECONDS)
        except (OSError, KafkaError) as exc:  # TimeoutError is an OSError
            if client is not None:
                await self._drop(client)
            why = not_yet or f"at {self._where} does not answer: {str(exc) or 'deadline passed'}"
            raise RetryLater(f"the event log's Kafka {why}") from exc

    async def close(self) -> None:
        """For good, and without waiting for brokers."""
        self._closed = True
        if self._client is not None:
            await self._drop(self._client)

    async def _connected(self) -> AIOKafkaClient:
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaClient(**self._arguments)
                try:
                    await client.bootstrap()
                except KafkaConnectionError as exc:
                    raise await why_not(self._arguments) from exc
                except BaseException:
                    await hang_up(client)
                    raise
                if self._closed:
                    await hang_up(client)
                    raise RetryLater("the event log is closed")
                self._client = client
            return self._client

    async def _drop(self, client: AIOKafkaClient) -> None:
        if self._client is client:
            self._client = None
        await hang_up(client)


class Stop(Protocol):
    async def __call__(self) -> object: ...


async def hang_up(client: AIOKafkaClient, stop: Stop | None = None) -> None:
    """End what speaks through ``client`` by ``stop``, without a word to brokers that may be dead or frozen.

    aiokafka would wait for them: for what is on its way to be answered, for TLS to be taken leave of.
    """
    for connection in list(client._conns.values()):
        if connection._writer is not None:
            connection._writer.transport.abort()
    # A stop() of aiokafka ends where one of its own tasks was cancelled, and leaves connections open.
    for end in (stop, client.close):
        if end is not None:
            await _in_time(end)


async def _in_time(stop: Stop) -> None:
    stopping = asyncio.ensure_future(stop())
    done, _ = await asyncio.wait([stopping], timeout=HANG_UP_SECONDS)
    if not done:
        stopping.cancel()
        logger.info("kafka_client_left_behind")
    elif not stopping.cancelled() and (problem := stopping.exception()) is not None:
        logger.info("kafka_client_not_stopped_well", detail=str(problem))
