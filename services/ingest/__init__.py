"""Ingest takes what products send and answers 200 once it is durable.

consumes      HTTP, as Segment-family SDKs speak it; reads no topic
produces      TelemetryReceived on `telemetry`, history on `telemetry-import`; SourceWentLive on both;
              what it refuses on their dead-letter topics, with the reason and the original bytes
owns          sources and their write keys; the last events and rejects of each, for people
never does    decide what an event means: resolving users to accounts, counting and scoring are health's
twice         an event may be appended more than once (its sender did not hear the answer); readers recognise its id
"""
