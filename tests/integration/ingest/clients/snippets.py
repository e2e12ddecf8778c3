"""The snippets that README gives to products, one for each client."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[4] / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
KEY = "kzw_YOUR_WRITE_KEY"
_SNIPPET = re.compile(r"^<!-- snippet: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets() -> dict[str, str]:
    """Each snippet as it stands there, by its name."""
    return dict(_SNIPPET.findall(README))


def snippet(name: str) -> str:
    """Raises KeyError for one that README does not have."""
    return snippets()[name]


def pointed_at(text: str, url: str, key: str) -> str:
    """The snippet for an ingest at ``url``: nothing but the address and the key is replaced, and both are there."""
    assert ADDRESS in text
    assert KEY in text
    return text.replace(ADDRESS, url).replace(KEY, key)
