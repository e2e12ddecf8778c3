"""Working time: the clock that stands still on weekends and holidays of the workspace's zone."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from libs.common.config_file import ConfigModel

_DAY = timedelta(days=1)


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Holiday(ConfigModel):
    """One day of one year."""

    date: date
    name: str


class YearlyHoliday(ConfigModel):
    """The same day every year, written month-day: ``12-25``."""

    day: Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
    name: str


class Calendar(ConfigModel):
    """config/calendar.yaml: when nobody expects a customer to work."""

    zone: str
    weekend: tuple[Weekday, ...] = (Weekday.SATURDAY, Weekday.SUNDAY)
    holidays: tuple[Holiday, ...] = ()
    yearly_holidays: tuple[YearlyHoliday, ...] = Field(default=(), max_length=100)

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"{name!r} is not a time zone; write it like Europe/Berlin or UTC") from exc
        return name

    @field_validator("weekend")
    @classmethod
    def _some_day_is_worked(cls, weekend: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if len(set(weekend)) == len(Weekday):
            raise ValueError("a weekend of seven days leaves no day to work")
        return weekend

    @cached_property
    def fingerprint(self) -> str:
        """Tells this calendar from any with other working days; names of holidays leave it as it is."""
        days = self.model_dump_json(
            exclude={"holidays": {"__all__": {"name": True}}, "yearly_holidays": {"__all__": {"name": True}}}
        )
        return hashlib.blake2b(days.encode(), digest_size=12).hexdigest()

    def is_weekend(self, day: date) -> bool:
        return day.weekday() in self._weekend_numbers

    def is_working_day(self, day: date) -> bool:
        if self.is_weekend(day):
            return False
        return day not in self._holiday_dates and (day.month, day.day) not in self._yearly_days

    def takes_off(self, day: date) -> bool:
        """Whether a holiday takes a day off that would be worked: one on a weekend takes nothing."""
        return not self.is_weekend(day) and not self.is_working_day(day)

    def working_days_after(self, day: date, until: date) -> int:
        """Whole working days later than ``day``, up to and with ``until``; 0 when it is earlier."""
        return sum(self.is_working_day(day + n * _DAY) for n in range(1, (until - day).days + 1))

    def working_days_between(self, start: datetime, end: datetime) -> timedelta:
        """Working time from ``start`` to ``end``; a whole working day is 24 hours. Zero when ``end`` is earlier."""
        here, stop = self._local(start), self._local(end)
        spent = timedelta()
        while here < stop:
            until = min(_midnight_after(here), stop)
            if self.is_working_day(here.date()):
                spent += until - here
            here = until
        return spent

    def after_working_days(self, start: datetime, amount: timedelta) -> datetime:
        """The moment at which ``amount`` of working time has passed since ``start``: seven working days from a Friday
        at 15:00 is the second Tuesday at 15:00."""
        here, left = self._local(start), amount
        while True:
            midnight = _midnight_after(here)
            if self.is_working_day(here.date()):
                if left <= midnight - here:
                    return (here + left).replace(tzinfo=self._zone).astimezone(UTC)
                left -= midnight - here
            here = midnight

    def _local(self, moment: datetime) -> datetime:
        """What clocks on the wall of the workspace show, so that a day of 23 or 25 hours is one day."""
        return moment.astimezone(self._zone).replace(tzinfo=None)

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    @cached_property
    def _weekend_numbers(self) -> frozenset[int]:
        return frozenset(list(Weekday).index(day) for day in self.weekend)

    @cached_property
    def _holiday_dates(self) -> frozenset[date]:
        return frozenset(holiday.date for holiday in self.holidays)

    @cached_property
    def _yearly_days(self) -> frozenset[tuple[int, int]]:
        """Month and day: to format each day that is asked for would take a tenth of a scoring."""
        return frozenset((int(holiday.day[:2]), int(holiday.day[3:])) for holiday in self.yearly_holidays)


def _midnight_after(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
