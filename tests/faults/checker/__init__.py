"""Judges what a run under faults left behind. Pure: the same history gives the same findings, in the same order.

Each fault of the system is told once, at the first place on an event's way that shows it: a touch that never reached
notify is lost, and that nobody was told is then not said a second time.
"""

from tests.faults.checker.aftermath import aftermath
from tests.faults.checker.counting import counting
from tests.faults.checker.finding import Finding, Kind
from tests.faults.checker.order import order
from tests.faults.checker.publishing import publishing
from tests.faults.checker.recorded_log import RecordedLog
from tests.faults.checker.telling import telling
from tests.faults.history import History

__all__ = ["Finding", "Kind", "check"]


def check(history: History) -> list[Finding]:
    """Everything that is wrong with a run; an empty list when all promises were kept."""
    log = RecordedLog.of(history)
    return [
        *counting(history, log),
        *publishing(history, log),
        *telling(history, log),
        *order(history, log),
        *aftermath(history),
    ]
