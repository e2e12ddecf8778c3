"""Settings of every service, and the files of ``config/``: each by itself, and whether they fit together."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field, SecretStr

from cli.apis import KEY_VARIABLE, url_variable
from cli.doctor.findings import Finding, ok, problem, warning
from libs.common.database_urls import OWNER_PASSWORD, OWNER_URL
from libs.common.errors import NotStarted
from libs.common.secret_files import FOLDER, secrets_by_file
from libs.common.settings import SERVICES, CommonSettings, Mistake, read, unknown
from services.health.configuration import rulebook
from services.health.domain import Rulebook
from services.health.settings import HealthSettings
from services.ingest.settings import IngestSettings
from services.notify.settings import NotifySettings
from services.notify.templates import FALLBACK_LANGUAGE, Templates
from services.playbook.definitions import Catalogue, StepKind, load_catalogue
from services.playbook.settings import PlaybookSettings

SETTINGS: Mapping[str, type[CommonSettings]] = {
    "ingest": IngestSettings,
    "health": HealthSettings,
    "playbook": PlaybookSettings,
    "notify": NotifySettings,
}
OWN_VARIABLES = {OWNER_URL, OWNER_PASSWORD, KEY_VARIABLE, *(url_variable(name) for name in SERVICES)}
"""Of this command and of the migrations."""
PARTS = {StepKind.SLACK: ("slack",), StepKind.EMAIL: ("subject", "txt")}
"""The files that a step's template cannot do without."""


T = TypeVar("T")


class InstallationSettings(CommonSettings):
    """What all services share. A password that has no address to go with is somebody else's to complain about."""

    database_url: SecretStr = Field(default=SecretStr(""), validate_default=False)


@dataclass(frozen=True)
class Configuration:
    """``common`` is None when nobody could connect with it; ``has_database`` says whether one is named at all."""

    common: InstallationSettings | None
    health: HealthSettings | None
    notify: NotifySettings | None

    @property
    def has_database(self) -> bool:
        return self.common is not None and bool(self.common.database_url.get_secret_value())


def look() -> tuple[Configuration, Sequence[Finding]]:
    """Never raises."""
    try:
        found: dict[str, Any] = {}
        mistakes: dict[Mistake, list[str]] = {}
        for service, settings_class in SETTINGS.items():
            found[service], wrong = read(settings_class, service)
            for mistake in wrong:
                mistakes.setdefault(mistake, []).append(service)
        common, _ = read(InstallationSettings)
        by_file = secrets_by_file()
    except NotStarted as exc:
        return Configuration(None, None, None), [problem("settings", str(exc))]
    configuration = Configuration(common, found["health"], found["notify"])
    own = [unknown(name) for name in sorted({*os.environ, *by_file}) if _is_misspelt_of_ours(name)]
    findings = [*judge_settings(mistakes, own, by_file), *look_at_files(configuration)]
    return configuration, findings


def _is_misspelt_of_ours(variable: str) -> bool:
    return variable.startswith(("KIZASHI_CLI_", "KIZASHI_OWNER_")) and variable not in OWN_VARIABLES


def judge_settings(
    mistakes: Mapping[Mistake, Sequence[str]], own: Sequence[Mistake], by_file: Collection[str]
) -> Iterator[Finding]:
    """``mistakes`` with the services that they keep from starting."""
    for mistake, services in mistakes.items():
        who = "every service" if len(services) == len(SETTINGS) else " and ".join(services)
        yield problem("setting", mistake.sentence, f"Until then it keeps {who} from starting.")
    for mistake in own:
        yield warning("setting", mistake.sentence)
    if not mistakes:
        yield ok("settings", f"The settings of {', '.join(SETTINGS)} are complete and valid.")
    if by_file:
        yield ok("secrets", f"Read from files in {os.environ[FOLDER]}: {', '.join(sorted(by_file))}.")


# --- the files of config/ ---


def look_at_files(configuration: Configuration) -> Iterator[Finding]:
    if configuration.common is None:
        return
    folder = configuration.common.config_dir
    if not folder.is_dir():
        yield problem(
            "config_missing",
            f"There is no folder {folder.absolute()}: health models, segments, playbooks and messages belong there.",
            "Set KIZASHI_CONFIG_DIR to a folder that has them, to begin with a copy of config/ of Kizashi's sources.",
        )
        return
    model = configuration.health.health_model if configuration.health else "default"
    language = configuration.notify.notify_language if configuration.notify else FALLBACK_LANGUAGE
    mistakes: list[Finding] = []
    rules = _loaded(lambda: rulebook(folder, model), mistakes)
    catalogue = _loaded(lambda: load_catalogue(folder), mistakes)
    templates = _loaded(lambda: Templates(folder, language), mistakes)
    yield from mistakes
    if rules is None or catalogue is None or templates is None:
        return
    names = " and ".join(playbook.name for playbook in catalogue.playbooks)
    yield ok("config", f"{folder.absolute()} loads: health model {model}, playbooks {names}, messages in {language}.")
    languages = [folder / "messages" / one for one in (language, FALLBACK_LANGUAGE)]
    yield from judge_fit(rules, catalogue, {path.name for one in languages for path in one.glob("*.j2")})


def _loaded(load: Callable[[], T], mistakes: list[Finding]) -> T | None:
    try:
        return load()
    except (NotStarted, OSError) as exc:
        mistakes.append(problem("config", str(exc)))
        return None


def judge_fit(rules: Rulebook, catalogue: Catalogue, templates: Collection[str]) -> Iterator[Finding]:
    """What no service can see alone: each reads some of the files. ``templates`` are names of files."""
    for playbook in catalogue.playbooks:
        for name, missing in _missing_parts(playbook.steps.values(), templates):
            yield problem(
                "template_missing",
                f"The playbook {playbook.name} sends {name}, of which config/messages lacks {' and '.join(missing)}.",
                "Write it, or name another template in the playbook: until then this step fails each time.",
            )
        known = {rule.stage.value for rule in rules.stages.stages}
        for stage in sorted(set(playbook.exclude_stages) - known):
            yield warning(
                "stage_unknown",
                f"The playbook {playbook.name} excludes the stage {stage}, which config/stages.yaml gives to nobody.",
                "Correct one of them.",
            )
    segments = {rule.segment for rule in rules.segments.segments}
    for segment in sorted(set(catalogue.tiers.segments) - segments):
        yield warning(
            "segment_unknown",
            f"config/touch_tiers.yaml has the segment {segment}, which config/segments.yaml gives to nobody.",
            "Correct one of them.",
        )
    for segment in sorted(segments - set(catalogue.tiers.segments)):
        yield warning(
            "segment_without_tier",
            f"The segment {segment} has no tier of its own in config/touch_tiers.yaml, so its accounts are "
            f"{catalogue.tiers.otherwise.value}.",
            "Add it there, if that is not what you want.",
        )


def _missing_parts(steps_of_tiers: Collection[Any], templates: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    asked = {(step.kind, getattr(step, step.kind.value)) for steps in steps_of_tiers for step in steps}
    for kind, name in sorted(one for one in asked if one[0] in PARTS):
        files = [f"{name}.{part}.j2" for part in PARTS[kind]]
        if missing := [file for file in files if file not in templates]:
            yield name, missing
