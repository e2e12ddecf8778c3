"""Where the demo's time stands when an installation starts; it stands still until the product lets it pass."""

from __future__ import annotations

from datetime import datetime, timedelta

from deploy.local.demo.progress import Phase, Progress
from deploy.local.demo.world import STORY, World
from deploy.local.home import Home
from deploy.local.settings import WEEKDAYS, LocalSettings
from libs.common.clock import Declaration, wall_now


def set_the_clock(home: Home, settings: LocalSettings) -> bool:
    """Thirty days ago at the first start, later where it stood. Whether the story has yet to begin."""
    progress = Progress.read(home.product_file)
    if progress is None:
        _begin(home, settings)
        return True
    declared = Declaration.read(home.clock_file)
    if declared.until is not None:  # stopped in accelerated time, which went no further
        _stand_still(home, declared.domain_time(wall_now()))
    elif declared.rate:  # stopped in real time: nothing has happened since
        _stand_still(home, progress.sent_until)
    return progress.phase is not Phase.LIVE


def _begin(home: Home, settings: LocalSettings) -> None:
    now = wall_now()
    ends = now
    if settings.local_end_weekday is not None:
        ends -= timedelta(days=(now.weekday() - WEEKDAYS.index(settings.local_end_weekday)) % 7)
    begins = ends - STORY
    _stand_still(home, begins)
    Progress(
        begins=begins,
        day_seconds=settings.local_day_seconds,
        sent_until=World(begins).history_begins,
        real_pace_from=ends if ends < now else None,
    ).write(home.product_file)


def _stand_still(home: Home, at: datetime) -> None:
    Declaration(wall_anchor=wall_now(), domain_anchor=at, rate=0).write(home.clock_file)
