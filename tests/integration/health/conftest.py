"""Worlds for the tests of health."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import TestDatabase
from tests.integration.health.world import World, world


@pytest.fixture
async def here(database: TestDatabase) -> AsyncIterator[World]:
    """A Monday noon; nothing has happened yet."""
    async with world(database) as made:
        yield made
