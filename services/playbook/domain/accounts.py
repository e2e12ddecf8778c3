"""What playbook knows of an account: a function of the set of its snapshots, not of their order or number."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.events import AccountChanged, Band

NEVER = 0
"""Lower than any version."""


@dataclass(frozen=True)
class Account:
    """The newest snapshot, and the highest versions that were seen well; all three only grow, so merging commutes."""

    snapshot: AccountChanged
    last_green_version: int = NEVER
    last_active_version: int = NEVER

    @classmethod
    def seen(cls, snapshot: AccountChanged) -> Account:
        """What one snapshot says."""
        return cls(
            snapshot,
            last_green_version=snapshot.version if snapshot.band is Band.GREEN else NEVER,
            last_active_version=snapshot.version if snapshot.silent is False else NEVER,
        )

    def merged(self, other: Account) -> Account:
        """What both say together."""
        newest = max(self, other, key=lambda account: account.snapshot.version)
        return Account(
            newest.snapshot,
            max(self.last_green_version, other.last_green_version),
            max(self.last_active_version, other.last_active_version),
        )
