"""Commands see the terminal and the folder that each test gives them, and no other."""

import json
from pathlib import Path

import numpy as np
import pytest

from command_table import SYNTHESIZED, TOML


@pytest.fixture(autouse=True)
def no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set the width."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with the inputs of the table."""
    for name in ("DTQATTEN_LIBERTY", "DTQATTEN_SRAM", "DTQATTEN_DATA", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "synth").mkdir()
    (tmp_path / "synth" / "asic-base-core.json").write_text(json.dumps(SYNTHESIZED))
    (tmp_path / "small.toml").write_text(TOML)
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 2, 12, 32))
    np.savez(tmp_path / "in.npz", q=q, k=k, v=v)
    monkeypatch.chdir(tmp_path)
    return tmp_path
