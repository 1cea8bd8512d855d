"""An export is kept as long as nothing that it depends on has changed."""

from importlib import resources
from pathlib import Path

import pytest

from dtqatten import PRESETS
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.base.export import verilog
from dtqatten.sim.engines import exported as module
from dtqatten.sim.engines.exported import exported, generator

SMALL = PRESETS["tiny"].replace(rows=1, cols=1, depth=1, d_head=8, n_max=2)


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Start with nothing kept; return a list of what was exported since."""
    monkeypatch.setenv("DTQATTEN_CACHE", str(tmp_path))
    made: list[str] = []

    def counted(component, name: str) -> str:
        made.append(name)
        return verilog(component, name)

    monkeypatch.setattr(module, "verilog", counted)
    return made


def test_the_text_is_that_of_the_export_and_made_once(exports: list[str]) -> None:
    texts = {exported("array", ScoreArray, SMALL) for _ in range(2)}
    assert texts == {verilog(ScoreArray(SMALL), "array")}
    assert exports == ["array"]


def test_each_argument_counts(exports: list[str]) -> None:
    texts = {
        exported("array", ScoreArray, SMALL),
        exported("array", ScoreArray, SMALL.replace(n_max=3)),
        exported("array", ScoreArray, SMALL, monitored=True),
        exported("other", ScoreArray, SMALL),
    }
    assert len(texts) == len(exports) == 4


def test_a_changed_module_is_exported_again(
    exports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources are a copy here, so that one can be changed."""
    root = tmp_path / "sources"
    for name in module.SOURCES:
        folder = root / name / "inner"
        folder.mkdir(parents=True)
        (folder / "pe.py").write_text("a = 1\n")
    monkeypatch.setattr(resources, "files", lambda _: root)

    def built() -> int:
        generator.cache_clear()
        exported("array", ScoreArray, SMALL)
        return len(exports)

    try:
        assert [built(), built()] == [1, 1]
        for number, name in enumerate(module.SOURCES):
            (root / name / "inner" / "pe.py").write_text("a = 2\n")
            assert built() == number + 2
        (root / "hw" / "new.py").write_text("")
        assert built() == len(module.SOURCES) + 2
        (root / "hw" / "notes.txt").write_text("")
        assert built() == len(module.SOURCES) + 2
    finally:
        generator.cache_clear()
