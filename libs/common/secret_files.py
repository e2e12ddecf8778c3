"""Settings from files, one value each, as Docker and Kubernetes hand out secrets.

KIZASHI_SECRETS_DIR names their folder. A file is named like the variable it stands for, in capitals or not
(``kizashi_notify_slack_bot_token``). An empty one counts as not there, since a secret that Docker is to hand out must
exist; names that do not begin with KIZASHI_ are other programs' secrets.
"""

from __future__ import annotations

import os
from pathlib import Path

from libs.common.errors import NotStarted

PREFIX = "KIZASHI_"
FOLDER = "KIZASHI_SECRETS_DIR"


def secrets_by_file() -> dict[str, str]:
    """Variable -> what its file holds, without white space around it; nothing when no folder is named.

    Raises NotStarted when something cannot be read, or when a variable is set as well: nobody could tell which counts.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return {}
    found: dict[str, str] = {}
    for file in _files(Path(folder)):
        variable = file.name.upper()
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise NotStarted(
                f"The secret {file} cannot be read ({_reason(exc)}); let it be a text file that the user "
                f"{os.getuid()} may read, or remove it."
            ) from exc
        if not value:
            continue
        if variable in found or os.environ.get(variable):
            raise NotStarted(f"{variable} is given twice, by {file} and elsewhere; remove one of them.")
        found[variable] = value
    return found


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.name.upper().startswith(PREFIX))
    except OSError as exc:
        raise NotStarted(
            f"The folder of secrets {folder} cannot be read ({_reason(exc)}); mount it, or correct {FOLDER}."
        ) from exc


def _reason(exc: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(exc, UnicodeDecodeError) else exc.strerror or str(exc)
