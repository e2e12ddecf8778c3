"""Every fault, with the event log on PostgreSQL, where one server is both database and log."""

import pytest

from tests.faults.every_fault import EveryFault
from tests.faults.schedule import Engine

ENGINE = Engine.POSTGRES
pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestOnPostgres(EveryFault):
    pass
