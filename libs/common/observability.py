"""Logs and metrics of our own processes: JSON lines with ids and never values, and one Prometheus registry."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["REGISTRY", "Counter", "Gauge", "Histogram", "configure_logging", "get_logger", "quiet"]

REGISTRY = CollectorRegistry()
"""Every metric of the process; names are kizashi_<service>_<thing>_<unit|total>."""


def configure_logging(service: str, level: str) -> None:
    """One JSON object per line on stderr, for our own log lines and for those of the libraries alike."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
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
