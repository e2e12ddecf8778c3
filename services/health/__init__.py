"""health: how every customer account is doing, why, and since when.

consumes        ``telemetry`` and ``telemetry-import`` (`TelemetryReceived`, `SourceWentLive`)
produces        ``health``: `AccountChanged`, `HealthBandChanged`, `AccountWentSilent`
owns            accounts, users, memberships, traits, segments, stages, scores and their history
never does      call another service; touch an account's row from a telemetry handler; let time run ahead of the log;
                raise an alert about history, about an import, or about the past
may repeat      an event on ``health`` after a crash between publishing and forgetting: same id, so it is absorbed

The way of an event: `handlers` write facts at user level (`tally` merges a batch) and a request → `router` finds every
account that it concerns and marks it dirty → `score_worker` rolls up what the dirty rows name, scores by the pure rules
of `domain`, concludes (`conclusion`) what to remember and what to tell, and sets the account's next moment.
"""
