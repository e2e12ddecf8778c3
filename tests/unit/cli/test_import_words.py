"""What an import says before, during and at its end."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import click
import pytest

from cli.imports.destination import Destination
from cli.imports.journal import Journal
from cli.imports.names import Kind
from cli.imports.plan import Wanted, planned
from cli.imports.words import Bar, show_next
from cli.imports.work import Batch, batches
from cli.imports.write_key import GivenKey

MOBILE: dict[str, Any] = {"id": 2, "name": "Mobile app", "state": "importing"}
DOES_NOT_COUNT = "does not count at all for an account that another source, a live one, knows too"


def destination(source: dict[str, Any] | None) -> Destination:
    return Destination("http://127.0.0.1:8080", GivenKey("kzw_x"), source)


def test_the_end_says_what_an_importing_source_is_good_for(capsys: pytest.CaptureFixture[str]) -> None:
    show_next(destination(MOBILE))
    told = capsys.readouterr().out
    assert "It is importing until all of its history is sent and you say so: `kizashi sources live 2`." in told
    assert DOES_NOT_COUNT in told
    show_next(destination(None))
    told = capsys.readouterr().out
    assert "A source is importing until" in told
    assert DOES_NOT_COUNT in told
    show_next(destination(MOBILE | {"state": "live"}))
    assert "importing" not in capsys.readouterr().out


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Shown:
    """A bar at a file of 5 batches; ``done`` says how far it is when so many are read, and so many acknowledged."""

    bar: Any
    show: Callable[[Journal, int], None]
    batches: Iterator[Batch]
    ends: list[int] = field(default_factory=list)

    def done(self, *, read: int, acknowledged: int) -> float:
        if read > len(self.ends):
            self.ends += [batch.last_line for batch in islice(self.batches, read - len(self.ends))]
        self.show(journal(self.ends[acknowledged - 1] if acknowledged else 0), self.ends[read - 1])
        return float(round(self.bar.pct, 2))


def journal(lines: int) -> Journal:
    now = datetime.now(UTC)
    return Journal(
        kind=Kind.EVENTS,
        source=1,
        key="",
        url="",
        mapping="",
        as_of=None,
        first_sent_at=now,
        last_sent_at=now,
        lines=lines,
    )


@pytest.fixture(params=["usage.csv", "usage.csv.gz"])
def shown(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shown]:
    path: Path = tmp_path / request.param
    content = b"event,user_id,timestamp\n" + b"Login,u1,2026-01-01\n" * 2499
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    terminal = Terminal()
    with (
        planned(Wanted(path=str(path)), None) as plan,
        click.progressbar(length=path.stat().st_size, file=terminal) as bar,
    ):
        yield Shown(bar, Bar(plan, bar).show, batches(plan.rows, plan.calls, plan.digest))


def test_the_bar_shows_what_is_acknowledged_and_not_what_is_read(shown: Shown) -> None:
    assert shown.done(read=3, acknowledged=0) == 0
    assert 0.19 <= shown.done(read=3, acknowledged=1) <= 0.34
    assert 0.59 <= shown.done(read=5, acknowledged=3) <= 0.61
    assert 0.79 <= shown.done(read=5, acknowledged=4) <= 0.81
    assert not shown.bar.finished
    assert shown.done(read=5, acknowledged=5) == 1
    assert shown.bar.finished


def test_of_a_file_that_goes_on_the_bar_is_of_the_rest(shown: Shown) -> None:
    assert shown.done(read=5, acknowledged=3) == 0
    assert 0.49 <= shown.done(read=5, acknowledged=4) <= 0.51
    assert shown.done(read=5, acknowledged=5) == 1


def test_while_it_waits_the_rest_becomes_longer(shown: Shown) -> None:
    shown.done(read=3, acknowledged=0)
    assert not shown.bar.eta_known
    shown.done(read=3, acknowledged=1)
    for _ in range(8):
        shown.bar.start -= 10
        shown.bar.last_eta = 0
        shown.done(read=3, acknowledged=1)
    assert shown.bar.eta > 60
