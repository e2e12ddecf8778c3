"""Python's collector of cycles, told what a service is: much that lives for ever, much that is gone at once."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000
"""Containers made and not freed since, before the collector looks at the young ones; Python's own 700 is less than one
batch of a consumer, all of which is alive when it looks, and none of it in a cycle."""


def settle_down() -> None:
    """To be called once a process is ready to work: what it holds by then is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
