"""Lets `make run` tell its story in a home of its own, and keeps what its terminal and its inbox showed."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from deploy.local.supervisor import ROOT
from deploy.pictures.browser import BROWSERS, headless
from deploy.pictures.terminal_svg import shown, svg
from libs.common.testing import free_port

INTO = ROOT / "docs" / "images"
ARRIVED = "the next `make run` goes on from there"
"""What it says when the story is told and everybody's standing has been shown."""
INBOX_SIZE = "860,680"


def main() -> None:
    browser = headless()
    if browser is None:
        sys.exit(f"No browser to take pictures with; install one of {', '.join(BROWSERS)}.")
    INTO.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="kizashi-pictures-"))
    home.chmod(0o755)  # PostgreSQL runs as another user when we are root
    ports = {f"KIZASHI_LOCAL_{name}_PORT": str(free_port()) for name in ("INGEST", "HEALTH", "PLAYBOOK", "NOTIFY")}
    inbox = free_port()
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("KIZASHI_", "DEMO"))}
    screen, typed = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "run"],
        cwd=ROOT,
        env={**surroundings, **ports, "KIZASHI_LOCAL_INBOX_PORT": str(inbox), "KIZASHI_HOME": str(home)},
        stdin=typed,
        stdout=typed,
        stderr=typed,
    )
    os.close(typed)
    try:
        story = told(_until_arrived(screen))
        (INTO / "story.svg").write_text(svg(story, "The terminal of make run while the story of the demo is told"))
        _screenshot(browser, f"http://127.0.0.1:{inbox}/#slack", INTO / "alert.png")
    finally:
        run.send_signal(signal.SIGINT)
        run.wait()
        shutil.rmtree(home, ignore_errors=True)
    for picture in sorted(INTO.iterdir()):
        print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size / 1000:.0f} kB")  # noqa: T201


def told(lines: list[str]) -> list[str]:
    """What a stranger needs of it: how it started and the story, without the addresses of this run."""
    begins = next(n for n, line in enumerate(lines) if "days pass" in line)
    started = [line for line in lines[:begins] if line and not line.lstrip().startswith(("\x1b[36mhttp", "keys and"))]
    return ["\x1b[2m$\x1b[0m make run", "", started[0], "", *started[1:], "", *lines[begins:]]


def _until_arrived(screen: int) -> list[str]:
    raw = b""
    with suppress(OSError):  # it ended, and what it said last says why
        while ARRIVED.encode() not in raw and (more := os.read(screen, 65536)):
            raw += more
    lines = shown(raw.decode())
    if ARRIVED not in raw.decode():
        sys.exit("make run did not arrive at its story's end:\n" + "\n".join(lines[-5:]))
    last = next(n for n, line in enumerate(lines) if ARRIVED in line)
    return lines[: last - 1]


def _screenshot(browser: list[str], url: str, into: Path) -> None:
    options = ["--hide-scrollbars", "--force-device-scale-factor=1.5", f"--window-size={INBOX_SIZE}"]
    subprocess.run(  # noqa: S603 - the browser that was found
        [*browser, *options, "--virtual-time-budget=5000", f"--screenshot={into}", url], check=True, capture_output=True
    )


if __name__ == "__main__":
    main()
