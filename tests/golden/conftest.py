"""What the tests of the golden model share."""

import pytest

from dtqatten.golden.traces.trace import Trace, example


@pytest.fixture(scope="session")
def trace() -> Trace:
    """Q, K and V of a real sentence."""
    return example()
