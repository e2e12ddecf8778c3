"""The page about importing: its files are written, its commands run, in their order, against a running ingest."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.topics import Topic
from tests.integration.cli import test_import
from tests.integration.cli.test_import import Import
from tests.integration.ingest.conftest import events

owner, tenant, settings, service, log = (
    test_import.owner,
    test_import.tenant,
    test_import.settings,
    test_import.service,
    test_import.log,
)
clean, url, kizashi_import = test_import.clean, test_import.url, test_import.kizashi_import
"""Its fixtures."""

PAGE = (Path(__file__).parents[3] / "docs" / "importing.md").read_text()
FILES = dict(re.findall(r"^<!-- file: ([\w.]+) -->\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [
    shlex.split(line)[2:]
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


async def test_the_page_does_what_it_says(tmp_path: Path, kizashi_import: Import, log: EventLog) -> None:
    assert (len(FILES), len(COMMANDS)) == (4, 4)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    for command in COMMANDS:
        await kizashi_import(*command)
    sent = [event for event in await events(log, Topic.TELEMETRY_IMPORT) if isinstance(event, TelemetryReceived)]
    assert sorted((event.event, event.account_id) for event in sent) == [
        ("$group", "a1"),
        ("$group", "a2"),
        ("$group", "a3"),
        ("Login", "a2"),
        ("Report Exported", "a1"),
        ("Report Exported", "a1"),
    ]
    told = await kizashi_import("crm.csv", "--source", "app", "--mapping", "mapping.yaml", "--dry-run")
    assert '"traits": {"arr": 48000, "zip": "80331", "renewal_date": "2027-12-31"}' in told.stdout
