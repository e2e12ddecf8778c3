"""Domain time, which a demo may declare, and whether what is in the log comes from the future."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cli.doctor.findings import Finding, ok, problem, warning
from cli.printing import age
from libs.common.clock import wall_now
from libs.common.errors import NotStarted
from libs.common.event_log import Places
from libs.common.settings import CommonSettings
from libs.common.topics import Topic

AHEAD = timedelta(seconds=2)


def look(settings: CommonSettings) -> tuple[datetime | None, Sequence[Finding]]:
    """Domain time, None when nobody knows it."""
    try:
        now = settings.clock().now()
    except (NotStarted, OSError) as exc:
        return None, [problem("domain_clock", str(exc))]
    return now, list(judge(settings, now, wall_now()))


def judge(settings: CommonSettings, now: datetime, wall: datetime) -> Iterator[Finding]:
    if settings.domain_clock_file is not None:
        behind = (wall - now).total_seconds()
        how = "which is real time by now" if behind < 1 else f"{age(behind)} behind real time"
        yield ok(
            "domain_clock",
            f"Domain time is declared by {settings.domain_clock_file} ({settings.environment}): it is "
            f"{now:%Y-%m-%d %H:%M} UTC, {how}.",
        )


async def ask_newest(places: Places) -> datetime | None:
    """When the newest record of telemetry was appended, by the log's own clock. Raises NotStarted, RetryLater."""
    topics = [Topic.TELEMETRY]
    starts, ends = await places.starts(topics), await places.ends(topics)
    newest = await places.appended_at({source: end - 1 for source, end in ends.items() if end > starts[source]})
    return max(newest.values(), default=None)


def judge_newest(newest: datetime | None, wall: datetime) -> Iterator[Finding]:
    """The log tells its time with its records only, so nothing is known of a clock that is behind."""
    if newest is not None and newest - wall > AHEAD:
        yield warning(
            "log_clock",
            f"The newest record of the event log was appended {age((newest - wall).total_seconds())} from now: the "
            "log's clock is ahead of this machine's.",
            "Let both machines keep time by NTP.",
        )
