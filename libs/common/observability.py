"""Logs and metrics of our own processes: JSON lines with ids and never values, and one Prometheus registry."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["REGISTRY", "REQUEST_ID", "Counter", "Gauge", "Histogram", "configure_logging", "get_logger", "quiet"]

REGISTRY = CollectorRegistry()
"""Every metric of the process; names are kizashi_<service>_<thing>_<unit|total>."""
REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""Of the HTTP request at work, in each of its log lines."""


def configure_logging(service: str, level: str) -> None:
    """One JSON object per line on stderr, for our own log lines and for those of the libraries alike."""
    shared: list[Any] = [
        _with_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        lambda _logger, _name, fields: {"service": service, **fields},
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn.access", "httpx", "aiosmtplib", "slack_sdk"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # each of its tries is an error to it; we say it once


def _with_request_id(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (request_id := REQUEST_ID.get(None)) is not None:
        fields["request_id"] = request_id
    return fields


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged in the block: a command says by itself what it found."""
    before, disabled = structlog.get_config(), logging.root.manager.disable
    structlog.configure(processors=[_drop])
    logging.disable()
    try:
        yield
    finally:
        logging.disable(disabled)
        structlog.configure(**before)


def _drop(_logger: object, _name: str, _fields: object) -> Any:
    raise structlog.DropEvent
