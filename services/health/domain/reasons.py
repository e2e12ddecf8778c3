"""Why a score is what it is and what moved it, for the people who are told."""

from __future__ import annotations

from libs.common.events import Reason
from services.health.domain.score import Line, Scorecard
from services.health.domain.tenths import Tenths, points

REASONS_TOLD = 3


def reasons_for_change(
    before: Scorecard | None, after: Scorecard, *, worse: bool, most: int = REASONS_TOLD
) -> tuple[Reason, ...]:
    """The measures that moved the score most since ``before``: those that lost when the finding is a ``worse`` one,
    whatever the score did since, else those that won.

    ``before`` is the score that the alert compares with; a gradual decline is only seen from far enough (weeks), not
    from the last scoring. Changes are differences of points lost: over all measures they add up to the difference of
    the scores, even when weight was shared out anew. Without ``before`` (none, or one of another model), or when
    nothing moved that way, a worse finding is told by the measures that cost most now, without a change. A measure
    that costs nothing now is no reason for one.
    """
    comparable = before is not None and before.fingerprint == after.fingerprint
    lost_before = {line.measure: line.lost for line in before.lines} if before and comparable else {}
    changes = {line.measure: lost_before.get(line.measure, 0) - line.lost if comparable else 0 for line in after.lines}
    direction = -1 if worse else 1
    moved = [line for line in after.lines if changes[line.measure] * direction > 0]
    moved.sort(key=lambda line: (-abs(changes[line.measure]), -line.lost))
    if worse and not moved:
        changes = dict.fromkeys(changes, 0)
        moved = sorted((line for line in after.lines if line.lost > 0), key=lambda line: -line.lost)
    return tuple(_reason(line, changes[line.measure]) for line in moved[:most])


def _reason(line: Line, change: Tenths) -> Reason:
    return Reason(
        measure=line.measure,
        title=line.title,
        value=line.value,
        threshold=line.threshold,
        window=line.window,
        points_lost=points(line.lost),
        change=points(change),
    )
