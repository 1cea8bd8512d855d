"""Shared by all tests: the count of compared cycles, shown at the end."""

from collections import Counter

import pytest

COMPARED = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COMPARED] = Counter()


@pytest.fixture
def compared(request: pytest.FixtureRequest) -> Counter[str]:
    """Cycles compared with the cycle model, by simulator; add to it."""
    return request.config.stash[COMPARED]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for simulator, cycles in sorted(config.stash[COMPARED].items()):
        terminalreporter.write_line(f"{simulator}: {cycles} cycles equal to the cycle model")
