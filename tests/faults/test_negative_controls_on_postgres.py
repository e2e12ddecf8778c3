"""Each missing guard is seen, with the event log on PostgreSQL."""

import pytest

from tests.faults.negative_controls import NegativeControls
from tests.faults.schedule import Engine

ENGINE = Engine.POSTGRES
NOBODY_IS_TOLD_TWICE = False
"""Somebody is, on purpose."""
pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestOnPostgres(NegativeControls):
    pass
