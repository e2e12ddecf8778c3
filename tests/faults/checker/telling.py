"""From playbook to a person and back: each touch is in notify's ledger once, the inbox shows what the ledger says, and
playbook has heard of it. Playbook asks as often as the load gives reason to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from services.notify.domain.delivery import delivery_id
from tests.faults.checker.finding import Finding, Kind, times
from tests.faults.checker.recorded_log import RecordedLog, grouped
from tests.faults.history import Delivery, History, Touch

REQUESTED = "playbook.touch_requested.v1"
RESULT_OF = {
    "sent": "notify.touch_delivered.v1",
    "failed": "notify.touch_failed.v1",
    "suppressed": "notify.touch_suppressed.v1",
}
"""What notify says on the log of a delivery in this state; a delivery in another one is not settled."""
TOUCH_STATE_OF = {"sent": "delivered", "failed": "failed", "suppressed": "suppressed"}


def telling(history: History, log: RecordedLog) -> Iterator[Finding]:
    yield from _touches(history, log)
    yield from _strangers(history)
    yield from _as_expected(history)


def _touches(history: History, log: RecordedLog) -> Iterator[Finding]:
    known = {one.touch_id: one for one in history.touches}
    ledger = grouped((one.touch_id, one) for one in history.deliveries)
    asked = {touch for kind, touch in log.about_touch if kind == REQUESTED}
    messages = Counter([one.delivery_id for one in history.slack] + [one.delivery_id for one in history.mails])
    wanted = {(one.account_id, playbook) for one in history.expected for playbook in one.told_by}
    for name in sorted(known.keys() | ledger.keys() | asked):
        touch, rows = known.get(name), ledger.get(name, [])
        if touch is None:
            where = "has it in its ledger" if rows else "was asked for it"
            yield Finding(Kind.GHOST, name, f"touch {name} is unknown to playbook, yet notify {where}")
            continue
        what = f"touch {name} ({touch.playbook} for {touch.account_id} by {touch.channel})"
        if log.is_read and name not in asked:
            where = "yet notify has it in its ledger" if rows else "so notify never heard of it"
            yield Finding(Kind.LOST, name, f"{what} is not on the log, {where}")
        elif not rows:
            seen = messages[str(delivery_id(history.workspace, name))]
            yield Finding(Kind.LOST, name, f"{what} is not in notify's ledger, and {times(seen)} in the inbox")
        elif len(rows) > 1:
            yield Finding(Kind.DOUBLED, name, f"{what} is {len(rows)} deliveries in notify's ledger")
        if len(rows) == 1:
            yield from _told(history, what, rows[0], owed=(touch.account_id, touch.playbook) in wanted)
            yield from _reported(touch, what, rows[0], log)
    for (run, step), twins in sorted(grouped(((one.run_id, one.step), one.touch_id) for one in known.values()).items()):
        if len(twins) > 1:
            words = f"step {step} of run {run} asked for {len(twins)} touches: {', '.join(sorted(twins))}"
            yield Finding(Kind.DOUBLED, run, words)


def _told(history: History, what: str, row: Delivery, *, owed: bool) -> Iterator[Finding]:
    """What the inbox shows of a delivery against what the ledger says of it. Copies of a mail under one id tell once,
    but there are no more of them than one and those that the ledger doubts; nor of messages by a webhook, which tell
    anew each."""
    slack = [one for one in history.slack if one.delivery_id == row.delivery_id]
    mails = [one for one in history.mails if one.delivery_id == row.delivery_id]
    seen, told = len(slack) + len(mails), len(slack) + len({one.message_id for one in mails})
    by_webhook = history.webhook_unknown is not None and row.channel == "slack"
    says = f"the ledger says {row.state}" + (f" ({row.reason})" if row.reason else "")
    says += f" of delivery {row.delivery_id}, {row.doubtful} doubtful"
    most = {"sent": 1 + row.doubtful, "failed": row.doubtful, "suppressed": row.doubtful}.get(row.state, seen)
    missed_by_policy = by_webhook and row.doubtful and history.webhook_unknown == "prefer_miss"
    if told > (1 + row.doubtful if by_webhook else 1):
        yield Finding(Kind.TOLD_TWICE, row.touch_id, f"{what} was told {times(told)}; {says}")
    elif seen > most or (row.state == "sent" and not seen):
        words = f"{what} is {times(seen)} in the inbox; {says}"
        yield Finding(Kind.LEDGER_DIFFERS_FROM_INBOX, row.touch_id, words)
    elif row.state in ("failed", "suppressed") and owed and not (seen or missed_by_policy or row.reason == "cancelled"):
        yield Finding(Kind.NOT_TOLD, row.touch_id, f"{what} was told nobody; {says}")
    if row.state not in RESULT_OF:
        words = f"{what} is not settled; {says}, after {row.attempt} attempts"
        yield Finding(Kind.STUCK, row.touch_id, words)


def _reported(touch: Touch, what: str, row: Delivery, log: RecordedLog) -> Iterator[Finding]:
    """The result of a settled delivery on its way back to playbook."""
    if row.state not in RESULT_OF:
        return
    results = {one.event_id for kind in RESULT_OF.values() for one in log.about_touch.get((kind, touch.touch_id), [])}
    right = log.about_touch.get((RESULT_OF[row.state], touch.touch_id), [])
    if log.is_read and not right:
        yield Finding(Kind.LOST, touch.touch_id, f"{what} is {row.state}, and the log has no result that says so")
    elif len(results) > 1:
        words = f"{what} has {len(results)} different results on the log: {', '.join(sorted(results))}"
        yield Finding(Kind.DOUBLED, touch.touch_id, words)
    elif touch.state != TOUCH_STATE_OF[row.state]:
        yield Finding(Kind.LOST, touch.touch_id, f"{what} is {row.state}, and playbook still says {touch.state}")


def _strangers(history: History) -> Iterator[Finding]:
    """Messages that belong to no touch at all."""
    known = {one.delivery_id for one in history.deliveries}
    known |= {str(delivery_id(history.workspace, one.touch_id)) for one in history.touches}
    for message in sorted(history.slack, key=lambda one: (one.channel, one.ts)):
        if message.delivery_id not in known:
            words = f"Slack shows a message ({message.channel} {message.ts}) that nobody asked for"
            yield Finding(Kind.GHOST, message.ts, words)
    for mail in sorted({one.message_id: one for one in history.mails}.values(), key=lambda one: one.message_id):
        if mail.delivery_id not in known:
            words = f"the inbox has a mail {mail.message_id} to {mail.recipient} that nobody asked for"
            yield Finding(Kind.GHOST, mail.message_id, words)


def _as_expected(history: History) -> Iterator[Finding]:
    """Playbook asked as often as the load gives reason to, not counting what it took back."""
    cancelled = {one.touch_id for one in history.deliveries if one.reason == "cancelled"}
    wanted = Counter((one.account_id, playbook) for one in history.expected for playbook in one.told_by)
    owed = grouped(
        ((one.account_id, one.playbook), (one.run_id, one.step))
        for one in history.touches
        if one.state != "cancelled" and one.touch_id not in cancelled
    )
    for account, playbook in sorted(wanted.keys() | owed.keys()):
        asked, due = len(set(owed.get((account, playbook), []))), wanted[account, playbook]
        words = f"{playbook} must tell of account {account} {times(due)}, and asked {times(asked)}"
        if asked < due:
            yield Finding(Kind.NOT_TOLD, account, words)
        elif asked > due:
            yield Finding(Kind.TOLD_TWICE if due else Kind.GHOST, account, words)
