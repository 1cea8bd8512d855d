"""What Verilator compiles: once for each content, in any folder, with its errors shown."""

from pathlib import Path

import pytest

from dtqatten import PRESETS
from dtqatten.hw.arrays.pod import Pod
from dtqatten.sim.engines import compiler, verilated
from dtqatten.sim.engines.verilated import VerilatedModel


def test_a_model_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTQATTEN_CACHE", str(tmp_path))
    config = PRESETS["tiny"]
    for _ in range(2):
        model = VerilatedModel(Pod(config, 20), "pe")
        (library,) = tmp_path.iterdir()
        assert library.suffix == ".so"
        monkeypatch.setattr(compiler, "_compile", None)  # a second compilation would fail
    operand = 0x7777
    model.step({"q_i": operand, "k_i": operand})
    for _ in range(2):
        model.step({})
    assert model.step({}, "acc") == {"acc": 4 * 49}


def test_a_model_is_compiled_whatever_its_folders_are_called(
    odd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTQATTEN_CACHE", str(odd_folder / "a cache"))
    model = VerilatedModel(Pod(PRESETS["tiny"], 20), "pe")
    assert len(list((odd_folder / "a cache").iterdir())) == 1
    assert set(model.step({})) == {port.name for port in model.outputs}
    monkeypatch.setattr(compiler, "VERILATOR_ROOT", odd_folder)
    with pytest.raises(OSError, match="a path that make cannot take: make the virtual environment"):
        compiler.verilator_environment()


def test_compiler_errors_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTQATTEN_CACHE", str(tmp_path))
    export = verilated.verilog
    monkeypatch.setattr(verilated, "verilog", lambda *args: export(*args) + "module broken(;")
    component = Pod(PRESETS["tiny"], 20)
    with pytest.raises(RuntimeError, match="Verilator failed on dtqatten_pe"):
        VerilatedModel(component, "pe")
    assert not list(tmp_path.iterdir())


def test_the_level_can_be_set_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTQATTEN_OPTIMIZE", "1")
    assert "OPT_FAST=-O1" in compiler.verilator_environment(2)["MAKEFLAGS"]
    monkeypatch.delenv("DTQATTEN_OPTIMIZE")
    assert "OPT_FAST=-O2" in compiler.verilator_environment()["MAKEFLAGS"]
    assert compiler.level(0) == 0
