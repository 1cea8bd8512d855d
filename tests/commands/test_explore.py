"""``dtqatten explore``: what it says where limits fit nothing, or energy is not known."""

import dataclasses
import json
from importlib import resources
from pathlib import Path

import pytest

from command_table import arguments, refused, run
from dtqatten.synth.explore import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The one machine that is found."""
    names = [(each.name, each.type) for each in dataclasses.fields(Machine)]
    found = Machine(**{name: "tiny" if kind is str else 7 for name, kind in names})
    monkeypatch.setattr("dtqatten.model.sweep.run", lambda *_: [found])
    return found


@pytest.mark.parametrize("limit", [("--mm2", "6"), ("--mw", "6")])
def test_nothing_that_fits_is_a_failure(
    limit: tuple[str, str], folder: Path, machine: Machine
) -> None:
    """After its files are written."""
    result = run(*arguments("explore", *limit))
    assert result.exit_code == 1
    assert f"no machine within 6 {limit[0][2:].replace('mw', 'mW')}: try" in result.stderr
    assert "fastest" not in result.stdout
    for name in ("explore.csv", "explore.png"):
        assert (folder / "build" / "explore" / name).stat().st_size
    assert run(*arguments("explore", limit[0], "7")).exit_code == 0


@pytest.mark.parametrize("option", ["unsigned_weights", "signed_gains", "bias_heads"])
def test_a_power_that_is_not_known_is_in_no_limit(
    option: str, folder: Path, machine: Machine
) -> None:
    value = "1" if option == "bias_heads" else "true"
    (folder / "odd.toml").write_text(f'preset = "tiny"\n{option} = {value}\n')
    odd = ("explore", "minilm", "--config", "odd.toml", "--tokens", "8")
    refused(run(*odd, "--mw", "100"), f"power of odd is not known, which has {option}: leave")
    assert run(*odd).exit_code == 0


def test_energy_that_is_not_known_is_a_dash(
    folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = dataclasses.replace(machine, machine="odd", sequence_uj=None, mw=None)
    monkeypatch.setattr("dtqatten.model.sweep.run", lambda *_: [unknown])
    result = run(*arguments("explore", "--json"))
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["mw"] is None
    shown = run(*arguments("explore"))
    (row,) = [line for line in shown.output.splitlines() if line.lstrip(" │").startswith("odd")]
    assert [cell.strip() for cell in row.strip("│ ").split("│")][-3:] == ["-", "-", "-"]


def test_a_model_that_is_fitted_to_all_has_no_errors_to_tell(
    folder: Path, machine: Machine
) -> None:
    given = resources.files("dtqatten.synth.estimate") / "fitted.json"
    content = json.loads(given.read_text("utf-8"))
    assert "not fitted to: " in run(*arguments("explore")).output
    (folder / "mine.json").write_text(json.dumps(content | {"error": {}}))
    told = run(*arguments("explore", "--area-model", "mine.json"))
    assert told.exit_code == 0, told.output
    assert "modelled for 1 GHz\n" in told.output
    assert "not fitted to" not in told.output
