"""Templates of messages, from ``config/messages/<language>``; a template that a language
lacks is taken from English, its words.yaml is its own.

A template is a name with parts: ``<name>.slack.j2`` (what to do next, for a CSM), and for mail ``<name>.subject.j2``,
``<name>.txt.j2``, ``<name>.html.j2``. Every part sees the facts of its touch by their names. Mistakes are found when
the process starts, not when somebody should be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined, TemplateNotFound
from jinja2.exceptions import TemplateError, TemplateSyntaxError

from libs.common.config_file import load, mistake
from libs.common.errors import NotStarted
from libs.common.events import Band, Channel, Reason, TouchFacts
from services.notify.plain_text import one_line
from services.notify.slack_text import escaped, harmless
from services.notify.words import Words

FALLBACK_LANGUAGE = "en"
PARTS = {Channel.SLACK: ("slack",), Channel.EMAIL: ("subject", "txt", "html")}


class CannotRender(Exception):
    """A message that cannot be made from its template; trying again changes nothing. The message is a short code."""


@dataclass(frozen=True)
class MailText:
    subject: str
    text: str
    html: str


class Templates:
    """Ready to render. Raises NotStarted, with file and line, for a mistake in any template or in the words."""

    def __init__(self, config_dir: Path, language: str = FALLBACK_LANGUAGE) -> None:
        top = config_dir / "messages"
        folders = [top / language] + ([top / FALLBACK_LANGUAGE] if language != FALLBACK_LANGUAGE else [])
        if not folders[0].is_dir():
            raise NotStarted(f"There are no messages in the language {language}: {folders[0]} is no folder.")
        self.words = load(folders[0] / "words.yaml", Words)
        loader = FileSystemLoader(folders)
        # Each kind of text has its own escaping, applied to what is inserted and never to the template itself.
        self._slack = _environment(loader, self.words, lambda value: escaped(harmless(value)))
        self._text = _environment(loader, self.words, one_line)
        self._html = _environment(loader, self.words, None)
        self._check(folders)

    def slack(self, name: str, facts: TouchFacts) -> str:
        """What to do next, as mrkdwn whose inserted facts are harmless. Raises CannotRender."""
        return _render(self._slack, f"{name}.slack.j2", _context(facts)).strip()

    def mail(self, name: str, facts: TouchFacts) -> MailText:
        """Raises CannotRender."""
        context = _context(facts)
        return MailText(
            subject=one_line(_render(self._text, f"{name}.subject.j2", context)),
            text=_render(self._text, f"{name}.txt.j2", context).strip() + "\n",
            html=_render(self._html, f"{name}.html.j2", context),
        )

    def _check(self, folders: list[Path]) -> None:
        """Render every template once with all facts and once with as few as a touch may have."""
        for folder in folders:
            parts: dict[str, set[str]] = {}
            for path in sorted(folder.glob("*.j2")):
                name, _, part = path.name.removesuffix(".j2").rpartition(".")
                parts.setdefault(name, set()).add(part)
                self._try(path, part)
            for name, found in parts.items():
                missing = [part for part in PARTS[Channel.EMAIL] if part not in found]
                if found & set(PARTS[Channel.EMAIL]) - {"html"} and missing:
                    raise mistake(folder / f"{name}.{missing[0]}.j2", 1, "the mail lacks this part")

    def _try(self, path: Path, part: str) -> None:
        environment = {"slack": self._slack, "html": self._html}.get(part, self._text)
        try:
            template = environment.get_template(path.name)
            for facts in (FULL_EXAMPLE, BARE_EXAMPLE):
                template.render(_context(facts))
        except TemplateSyntaxError as exc:
            raise mistake(Path(exc.filename or path), exc.lineno, exc.message or "is no template") from exc
        except (TemplateError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
            raise mistake(path, _line(exc, path), str(exc)) from exc


def _environment(loader: BaseLoader, words: Words, finalize: Any) -> Environment:
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=finalize is None,  # noqa: S701 - what finalize makes harmless is not HTML
        finalize=(lambda value: finalize(str(value))) if finalize else None,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["day"] = lambda day: words.date(day.date() if isinstance(day, datetime) else day)
    environment.filters["number"] = lambda number: f"{number:,.0f}"
    environment.filters["band"] = words.band
    return environment


def _render(environment: Environment, name: str, context: dict[str, Any]) -> str:
    try:
        return environment.get_template(name).render(context)
    except TemplateNotFound as exc:
        raise CannotRender("unknown_template") from exc
    except (TemplateError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
        raise CannotRender("template_error") from exc


def _context(facts: TouchFacts) -> dict[str, Any]:
    return {field.name: getattr(facts, field.name) for field in msgspec.structs.fields(facts)}


def _line(exc: BaseException, path: Path) -> int:
    """The line of the template at which an exception arose: Jinja puts templates into the traceback."""
    line, trace = 1, exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


FULL_EXAMPLE = TouchFacts(
    account_name="Example & Sons",
    segment="enterprise",
    stage="adoption",
    finding="usage_decline",
    arr=120_000.0,
    owner="Hana Mori",
    contact_name="Ken Abe",
    renewal_date=date(2027, 3, 31),
    days_to_renewal=90,
    band_before=Band.GREEN,
    band=Band.RED,
    score_before=81.0,
    score=38.5,
    reasons=(
        Reason(
            measure="active_users",
            title="Active users",
            value="4 of 30",
            threshold="at least 12",
            window="last 14 days",
            points_lost=22.0,
            change=-18.0,
        ),
    ),
    trend=(420, 410, 400, 380, 210, 120, 60, 20),
    last_activity_at=datetime(2026, 12, 20, 9, 30, tzinfo=UTC),
)
BARE_EXAMPLE = TouchFacts(account_name="Example", segment="smb", stage="onboarding", finding="account_silent")
"""What touches show to the check: everything there can be, and only what there always is."""
