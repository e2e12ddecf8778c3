"""The bench's load generator, where it is there."""

import os

import pytest

from bench.load import find_wrk
from libs.common.errors import NotStarted


@pytest.fixture(scope="session")
def wrk() -> str:
    """Whoever asks is skipped without it; where CI=true that is a failure."""
    try:
        return find_wrk()
    except NotStarted as problem:
        missing = f"The bench's load is not tested: {problem}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
