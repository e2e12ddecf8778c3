"""Each missing guard is seen, with the event log on Kafka."""

import pytest

from tests.faults.negative_controls import NegativeControls
from tests.faults.schedule import Engine

ENGINE = Engine.KAFKA
NOBODY_IS_TOLD_TWICE = False
"""Somebody is, on purpose."""
pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestOnKafka(NegativeControls):
    pass
