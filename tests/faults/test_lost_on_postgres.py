"""Lost records, with the event log on PostgreSQL."""

import pytest

from tests.faults.lost_records import LostRecords
from tests.faults.schedule import Engine

ENGINE = Engine.POSTGRES
pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestOnPostgres(LostRecords):
    pass
