"""What the bench says while it works: to stderr, since stdout is for its results."""

from __future__ import annotations

import sys


def tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
