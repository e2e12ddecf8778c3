"""How often the same row has come before in a file."""

from __future__ import annotations

import sqlite3

CACHE_KIBIBYTES = 16 * 1024


class Repeats:
    """Counts in a nameless file of SQLite's that ends with it, so that a file of ten million rows takes no more memory
    than one of ten thousand."""

    def __init__(self) -> None:
        self._counts = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._counts.execute("PRAGMA journal_mode = OFF")
        self._counts.execute("PRAGMA synchronous = OFF")
        self._counts.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        self._counts.execute("CREATE TABLE seen (row BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")
        self._counts.execute("BEGIN")

    def before(self, row: bytes) -> int:
        """How often this has been asked about ``row`` already."""
        found: tuple[int] = self._counts.execute(
            "INSERT INTO seen VALUES (?, 0) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n", (row,)
        ).fetchone()
        return found[0]

    def close(self) -> None:
        self._counts.close()
