"""Finds the browser of this machine that needs no screen."""

from __future__ import annotations

import os
import shutil

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def headless() -> list[str] | None:
    """The beginning of its command; None when none of ``BROWSERS`` is installed."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        return None
    # Chromium refuses its sandbox to root.
    return [executable, "--headless", *([] if os.geteuid() else ["--no-sandbox"])]
