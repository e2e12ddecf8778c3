"""Errors, named by what the reader of them does next.

Exception
├── RetryLater      the world is at fault: roll back, pause, try the same thing again
├── InvalidEvent    the record is at fault: dead letter, go on with the next one
├── Refused         the caller is at fault: HTTP 4xx with ``code`` and ``message``
├── NotStarted      the operator is at fault: one sentence on stderr, exit status 2
├── PositionLost    the event log no longer holds what we must read next: alarm, stop that partition
└── OwnershipLost   somebody else owns the partition now: roll back, drop it, go on
"""

from libs.common.event_log import TopicPartition


class RetryLater(Exception):
    """Something we depend on did not answer; the same attempt may succeed later."""


class InvalidEvent(Exception):
    """A record that will never be processed, however often it is tried.

    ``reason`` is a short code that metrics and dead letters group by; the message is for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Refused(Exception):
    """A request that must not be repeated unchanged.

    ``status`` is the HTTP status; ``code`` is stable and meant for programs; the message is for people;
    ``details`` are further top-level fields of the answer.
    """

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class NotStarted(Exception):
    """A process that cannot start; the message is one sentence that says what is wrong and what to do."""


class PositionLost(Exception):
    """The position to read from lies outside what the event log holds: records were lost, or the log is another.

    The log holds ``earliest`` up to, and not including, ``end``.
    """

    def __init__(self, source: TopicPartition, position: int, earliest: int, end: int) -> None:
        what = "older records were dropped" if position < earliest else "the log has never been that far"
        super().__init__(
            f"{source.topic}/{source.partition} cannot be read from position {position}: the log holds "
            f"{earliest} to {end}, {what}."
        )
        self.source = source


class OwnershipLost(Exception):
    """The compare-and-set of a position failed, so another process owns the partition."""
