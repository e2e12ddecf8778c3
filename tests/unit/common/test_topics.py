"""Who reads which topic is said in one place for tools, and by each service itself; here both are compared."""

from __future__ import annotations

import re
from pathlib import Path

from libs.common.topics import READERS, Topic

ROOT = Path(__file__).parents[3]


def test_the_reader_of_each_topic_is_the_service_that_reads_it() -> None:
    read: dict[Topic, str] = {}
    for app in (ROOT / "services").glob("*/app.py"):
        for topics in re.findall(r"topics=\[([^\]]*)\]", app.read_text()):
            read |= {Topic[name]: app.parent.name for name in re.findall(r"Topic\.([A-Z_]+)", topics)}
    assert read == READERS


def test_nobody_reads_dead_letters_and_somebody_reads_everything_else() -> None:
    assert {topic for topic in Topic if topic.dead_letters != topic} == set(READERS)
