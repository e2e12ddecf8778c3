"""How a score is made: a tour in the order in which the rules are applied.

Everything here is a pure function over frozen values: no I/O, no clock, no randomness. The same facts, rules and
``as_of`` give the same bytes.

1. **Who did it?** `membership`: which account a user's usage belongs to on a day, as a function of all calls ever made
   (`attribute`), so no order of arrival changes the answer. `activity`: which of it is a person doing something.
2. **What is known?** `facts`: `AccountFacts` is all that a score is made of. `profile`: who the account is, from
   traits with `numbers` as people write them.
3. **What is looked at?** `model`: `HealthModel` is config/health/default.yaml, dimension → measure, each measure an
   input and a transform, and the lint that refuses a wrong one. It also says which facts it needs.
4. **What does each measure see?** `readings`: the number or why there is none (`Presence`), in `words` too.
   `open_cases`: which tickets still count. `transforms`: from the number to marks, 0 to 100.
5. **What is the score?** `score`: the weight of what is missing goes to the rest, marks times weight in whole tenths of
   a point (`tenths`), so that the lines of a `Scorecard` add up to its score exactly. `reasons`: which lines moved it.
6. **What does it mean?** `bands`: green, yellow, red, with hysteresis. `silence`: nobody came for longer than the
   account's own rhythm explains, in the working days of `calendar`. `lifecycle`: its stage and its segment.
7. **When to look again?** `next_moment`: when the answer will change by itself.

`assess` does 4 to 7 in one call: facts, the `Standing` remembered from last time, the `Rulebook` and ``as_of`` in, an
`Assessment` out.
"""

from services.health.domain.activity import Activity
from services.health.domain.assess import Assessment, Rulebook, Standing, assess
from services.health.domain.bands import BandRule, BandState, leaves_at, settle_band
from services.health.domain.calendar import Calendar
from services.health.domain.facts import (
    ACTIVE_DAYS_KEPT,
    AccountFacts,
    ActiveDay,
    DailyCount,
    Occurrence,
    Scalar,
    day_of,
    weekly_usage,
)
from services.health.domain.lifecycle import Segments, Stage, Stages, segment_of, stage_of
from services.health.domain.membership import Call, Calls, attribute, in_force, person_behind
from services.health.domain.model import HealthModel
from services.health.domain.next_moment import daily_moment, next_moment
from services.health.domain.profile import Profile, normalised, profile_of
from services.health.domain.readings import Evidence, Presence
from services.health.domain.reasons import reasons_for_change
from services.health.domain.score import Line, Scorecard, score
from services.health.domain.silence import SilenceRule, SilenceState, settle_silence, silent_from
from services.health.domain.tenths import Tenths, points

__all__ = [
    "ACTIVE_DAYS_KEPT",
    "AccountFacts",
    "ActiveDay",
    "Activity",
    "Assessment",
    "BandRule",
    "BandState",
    "Calendar",
    "Call",
    "Calls",
    "DailyCount",
    "Evidence",
    "HealthModel",
    "Line",
    "Occurrence",
    "Presence",
    "Profile",
    "Rulebook",
    "Scalar",
    "Scorecard",
    "Segments",
    "SilenceRule",
    "SilenceState",
    "Stage",
    "Stages",
    "Standing",
    "Tenths",
    "assess",
    "attribute",
    "daily_moment",
    "day_of",
    "in_force",
    "leaves_at",
    "next_moment",
    "normalised",
    "person_behind",
    "points",
    "profile_of",
    "reasons_for_change",
    "score",
    "segment_of",
    "settle_band",
    "settle_silence",
    "silent_from",
    "stage_of",
    "weekly_usage",
]
