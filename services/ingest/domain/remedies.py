"""What to do about each code that something was refused with, in a sentence."""

from __future__ import annotations

_OF_CODES = {
    # one event
    "not_an_object": 'Send an event as a JSON object, and many as {"batch": [...]}.',
    "unknown_type": "Set `type` to track, identify, group, page, screen or alias, or send it to that path.",
    "missing_event": 'Name what happened, as in track(userId, "Report Exported").',
    "missing_user": "Set `userId` or `anonymousId`; a system that knows no user sets `groupId` to the account.",
    "missing_group_id": "Pass the account's id to group(), as `groupId`.",
    "event_too_large": "Send less with the event: what is long belongs into your own storage, and its id here.",
    "event_too_deep": "Flatten the properties.",
    "unknown_specversion": "Send CloudEvents of version 1.0.",
    "data_twice": "Send `data` or `data_base64`.",
    "too_many_events": "Send fewer events in a batch; the others of this one were taken.",
    # a whole request
    "not_json": "See what the sender really wrote: the beginning of it is shown with the refusal.",
    "batch_missing": 'Send {"batch": [...]}, or use the path for a single event.',
    "batch_not_an_array": "Make `batch` an array of events.",
    "not_an_array": "Send a batch of CloudEvents as a JSON array of them.",
    "number_out_of_range": "Send such a number as a string.",
    "too_deep": "Flatten the body.",
    "too_many_values": "Send fewer events in a batch.",
    "body_too_large": "Send fewer events in a batch.",
    "bad_encoding": "Compress by gzip or deflate and say so in Content-Encoding, or send it as it is.",
    "unknown_event_format": "Use the JSON format of CloudEvents, or their binary mode with JSON as data.",
    "unknown_encoding": "Compress by gzip or deflate, or send it as it is.",
    "strict_mode": "Mend the events that are shown with it and send all of them again, or leave X-Strict-Mode out.",
    "origin_not_allowed": "Add the page's origin to the write key: kizashi keys change KEY --origin ….",
    "over_quota": "The sender tries again by itself; raise the key's quota: kizashi keys change KEY --events-per-s N.",
    "request_timeout": "See why the sender takes so long to send a body.",
    # ours: senders come again by themselves
    "log_unavailable": "Nothing to mend at the sender, which sends it again; `kizashi doctor` says what the log lacks.",
    "busy": "Nothing to mend at the sender, which sends it again; if it lasts, run one more ingest.",
    "shutting_down": "Nothing to mend: the sender sends it again.",
    "unavailable": "Nothing to mend at the sender, which sends it again; `kizashi doctor` says what does not answer.",
}
_TOO_LONG, _INVALID, _MISSING = "_too_long", "invalid_", "missing_"


def remedy(code: str) -> str:
    """Empty for a code that nobody has thought of."""
    if code.endswith(_TOO_LONG):
        return f"Send a shorter {code.removesuffix(_TOO_LONG)}: it is an id or a name, not a text."
    if code.startswith(_INVALID):
        return f"Look at what the sender puts into {code.removeprefix(_INVALID)}."
    if code.startswith(_MISSING) and code not in _OF_CODES:
        return f"Set `{code.removeprefix(_MISSING)}`."
    return _OF_CODES.get(code, "")
