"""The rules of ingest: bytes in, accepted events and rejected ones out. No I/O, no clock, no randomness.

mending       bytes that are almost JSON -> JSON
documents     a body -> its events, still as bytes, and what was said about all of them
calls         an event's bytes -> its fields, with ids made strings
cloud_events  the same two for CloudEvents
accounts      which account an event names, and by which rule
times         when it happened, whatever the client's clock shows
acceptance    all of this together

recent        what people are shown of an event afterwards
remedies      what to do about each code of a refusal
findings      what a source's last events say about how its product was connected
"""
