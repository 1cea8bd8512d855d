"""Commands see the terminal that each test gives them, and no other."""

import pytest


@pytest.fixture(autouse=True)
def no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set the width."""
    monkeypatch.delenv("COLUMNS", raising=False)
