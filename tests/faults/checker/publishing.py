"""From health to playbook: each version of an account is published, each finding heard of, and the score is right."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.checker.finding import Finding, Kind
from tests.faults.checker.recorded_log import RecordedLog, grouped
from tests.faults.history import Account, History

ACCOUNT = "health.account_changed.v1"
FINDINGS = {"health.band_changed.v1", "health.account_went_silent.v1"}


def publishing(history: History, log: RecordedLog) -> Iterator[Finding]:
    shown = {one.account_id: one for one in history.accounts}
    for expected in sorted(history.expected, key=lambda one: one.account_id):
        account = shown.get(expected.account_id)
        if account is None:
            words = f"account {expected.account_id} is not known to health"
            yield Finding(Kind.LOST, expected.account_id, words)
        elif expected.band is not None and account.band != expected.band:
            words = (
                f"account {account.account_id} must end {expected.band}, and health says {account.band or 'nothing'}"
            )
            yield Finding(Kind.LOST, account.account_id, words)
    if log.is_read:
        for _, account in sorted(shown.items()):
            yield from _published(account, f"{history.workspace}:{account.account_id}", log)


def _published(account: Account, key: str, log: RecordedLog) -> Iterator[Finding]:
    versions = grouped((one.sequence, one.event_id) for one in log.by_key.get(("health", key, ACCOUNT), []))
    name = account.account_id
    for version in range(1, account.version + 1):
        ids = set(versions.pop(version, []))
        if not ids:
            yield Finding(Kind.LOST, name, f"version {version} of account {name} is not on the log")
        if len(ids) > 1:
            words = f"version {version} of account {name} was published as {len(ids)} events: {', '.join(sorted(ids))}"
            yield Finding(Kind.DOUBLED, name, words)
    for beyond, _ in sorted(versions.items(), key=str):
        words = f"version {beyond} of account {name} is on the log, and health only knows {account.version}"
        yield Finding(Kind.GHOST, name, words)
    found = len({one.event_id for kind in FINDINGS for one in log.by_key.get(("health", key, kind), [])})
    if account.findings != found:
        words = (
            f"health published {found} findings about account {name}, and playbook's timeline has {account.findings}"
        )
        yield Finding(Kind.LOST if account.findings < found else Kind.GHOST, name, words)
