"""Which telemetry is a person of the customer doing something, and which is a machine or one of ourselves."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property

from libs.common.config_file import ConfigModel


class Activity(ConfigModel):
    """What never counts as activity.

    ``exclude_events`` are exact names. ``exclude_people`` are user ids, ``*`` standing for anything.
    ``exclude_email_domains`` are whole domains, their subdomains included.
    """

    exclude_events: tuple[str, ...] = ()
    exclude_people: tuple[str, ...] = ()
    exclude_email_domains: tuple[str, ...] = ()

    @cached_property
    def excluded(self) -> frozenset[str]:
        return frozenset(self.exclude_events)

    def event_counts(self, event: str) -> bool:
        return event not in self.excluded

    def person_counts(self, person: str, email: str | None) -> bool:
        """Whether what this person does says anything about the customer."""
        if any(fnmatchcase(person, pattern) for pattern in self.exclude_people):
            return False
        domain = (email or "").rpartition("@")[2].strip().lower()
        return not any(
            domain == ours.lower() or domain.endswith("." + ours.lower()) for ours in self.exclude_email_domains
        )
