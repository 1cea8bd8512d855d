"""Configurations in files, and the commands that show and check them."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtqatten.cli import app
from dtqatten.commands.config import meanings
from dtqatten.configuration.core import PRESETS, Config, ConfigError, Schedule
from dtqatten.configuration.file import load
from dtqatten.configuration.system import SystemConfig

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, name: str = "mine.toml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def run(line: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, shlex.split(line))
    return result.exit_code, result.stdout, result.stderr


def test_the_page_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is good, and its commands run; what they compute is not of interest here."""
    (toml,) = re.findall(r"^```toml\n(# (\S+):.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    read = load(written(*toml))
    config = PRESETS["base"].replace(rows=16, n_max=1024)
    assert read.system_config(read.config()) == SystemConfig(core=config, bus_bits=256)
    monkeypatch.setattr("dtqatten.hw.base.export.verilog", lambda one, _, **__: one.config)
    monkeypatch.setattr("dtqatten.commands.verilog.build", lambda _, system, **__: Held(system))
    monkeypatch.setattr("dtqatten.model.sweep.run", lambda *_: [])
    monkeypatch.setattr("dtqatten.model.plots.sweep_figure", lambda _: None)
    monkeypatch.setattr("dtqatten.commands.sweep.save", lambda *_: None)
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        command, _, comment = line.partition("#")
        code, _, error = run(command.removeprefix("dtqatten "))
        assert code == 0, (line, error)
        if comment.strip().startswith("build/"):
            assert Path(comment.strip()).is_file()
    assert "rows=8" in Path("build/verilog/fast-rows-8/dtqatten_system.v").read_text()


class Held:
    """In place of a component."""

    def __init__(self, config: SystemConfig) -> None:
        self.config = str(config)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('preset = "tiny"\nrow = 8', "no key row: did you mean rows? choose of preset, rows"),
        ('preset = "tiny"\nrows = 65', "rows is 65, outside 1..64"),
        ('preset = "tiny"\nrows = "8"', "rows must be an integer, not '8': choose one in 1..64"),
        ('preset = "tiny"\nrows = 8.0', "rows must be an integer, not 8.0"),
        ('preset = "tiny"\nrows = true', "rows must be an integer, not True"),
        ('preset = "tiny"\nv_gains = 1', "v_gains is 1: choose True or False"),
        ('preset = "tiny"\nschedule = "x"', "schedule is 'x': choose one of interleaved"),
        ('preset = "tiny"\ntopk_engine = 1', "topk_engine is 1: choose one of counting, quick_sel"),
        ('preset = "tiny"\ndepth = 5', "depth is 5, which does not divide d_head = 32: use 4"),
        ('preset = "huge"', "preset is 'huge': choose one of tiny, edge, base, paper"),
        ("preset = []", "preset is []: choose one of"),
        ("rows = 4", "cols, depth missing: give a value, or a preset to start from (tiny"),
        ("bus_bits = 64", "bus_bits belongs into the table [system]"),
        ('preset = "tiny"\n[system]\nbus_bits = 65', "bus_bits is 65: choose 64, 128, 256 or 512"),
        ('preset = "tiny"\n[system]\nbus_bit = 64', "no key [system] bus_bit: did you mean bus_b"),
        ('preset = "tiny"\n[system]\ncore = 1', "no key [system] core"),
        ("system = 3", "system is 3: make it a table, [system]"),
        ("rows = ", "mine.toml is no TOML: Invalid value"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(text: str, says: str) -> None:
    path = written(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value).startswith("mine.toml")
    assert says in str(error.value)
    code, out, said = run("config check mine.toml")
    assert (code, out) == (2, "")
    assert says in said


def test_a_file_is_not_called_like_a_preset() -> None:
    with pytest.raises(ConfigError, match="called like preset base: give the file another name"):
        load(written('preset = "tiny"', "base.toml"))


def test_every_field_can_be_given() -> None:
    values = dataclasses.asdict(PRESETS["paper"]) | {"value_depth": 2, "schedule": "interleaved"}
    values |= {"normalizer_lanes": 7, "capacity": 4096, "value_load_bits": 64}
    values |= {"topk_engine": "quick_select"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    bus = {"bus_bits": 64, "address_bits": 32, "burst_beats": 8, "buffer_bursts": 2}
    lines += ["[system]", *(f"{name} = {value}" for name, value in bus.items())]
    read = load(written("\n".join(lines)))
    core = Config(**{**values, "schedule": Schedule.INTERLEAVED})
    assert read.system_config(read.config()) == SystemConfig(core=core, **bus)


def test_the_file_wins_over_the_preset_and_options_over_the_file() -> None:
    read = load(written('preset = "base"\nrows = 4\nvalue_depth = 7'))
    assert read.config() == PRESETS["base"].replace(rows=4, value_depth=7)
    assert read.config("edge") == PRESETS["edge"].replace(rows=4, value_depth=7)
    assert read.config(rows=2) == PRESETS["base"].replace(rows=2, value_depth=7)
    # The file's value array suits the file's depth alone.
    assert read.config(depth=16) == PRESETS["base"].replace(rows=4, depth=16, value_depth=None)
    wide = load(written('preset = "tiny"\n[system]\nbus_bits = 256'))
    assert wide.system_config(wide.config(), burst_beats=8).bus_bits == 256
    assert wide.system_config(wide.config(), bus_bits=64).bus_bits == 64


def test_show_has_every_field_value_and_meaning() -> None:
    written('preset = "base"\nrows = 4\n[system]\nbus_bits = 256')
    code, out, _ = run("config show --config mine.toml --json")
    assert code == 0
    content = json.loads(out)
    config = PRESETS["base"].replace(rows=4)
    for name, value in dataclasses.asdict(config).items():
        assert content[name] == value
    assert content["system"]["bus_bits"] == 256
    assert content["derived"]["multipliers"] == config.multipliers
    assert content["derived"]["bus_bytes"] == 32
    code, out, _ = run("config show --config mine.toml")
    assert code == 0
    for kind in (Config, SystemConfig):
        says = meanings(kind)
        assert {each.name for each in dataclasses.fields(kind)} <= says.keys()
        assert all(text in out for name, text in says.items() if name != "core")


@pytest.mark.parametrize("preset", PRESETS)
def test_what_show_prints_as_toml_is_a_file_of_the_same_machine(preset: str) -> None:
    code, out, _ = run(f"config show --preset {preset} --toml")
    assert code == 0
    read = load(written(out))
    assert read.system_config(read.config()) == SystemConfig(core=PRESETS[preset])


def test_toml_and_json_exclude_each_other() -> None:
    code, out, said = run("config show --toml --json")
    assert (code, out) == (2, "")
    assert "--toml and --json" in said


def test_two_machines_have_two_names() -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        written('preset = "tiny"', f"{name}/mine.toml")
    code, _, said = run("sweep --config a/mine.toml --config b/mine.toml")
    assert code == 2
    assert "two machines are called mine: rename the file, or leave one out" in said
