"""Verilog export: one module per kind, flat ports, clean and repeatable."""

import re

import pytest
from amaranth.hdl import Cat, Fragment, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from dtqatten import PRESETS, Config, __version__
from dtqatten.hw.arrays.pe import PE
from dtqatten.hw.arrays.pod import Pod
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.base.export import ExportPlatform, flat_ports, place, verilog
from dtqatten.hw.softmax.exponential import Exponential
from dtqatten.sim.proofs.yosys import check_verilog


def modules(text: str) -> list[str]:
    return re.findall(r"^module (\S+?)\(", text, re.MULTILINE)


def test_every_kind_of_block_is_one_module() -> None:
    text = verilog(ScoreArray(PRESETS["tiny"]), "array")
    assert sorted(modules(text)) == [
        "dtqatten_array",
        "dtqatten_feeder_k",
        "dtqatten_feeder_q",
        "dtqatten_grid_20",
        "dtqatten_line_buffer_1",
        "dtqatten_line_buffer_16",
        "dtqatten_pe_20",
        "dtqatten_pod_20",
        "dtqatten_score_bank_20",
        "dtqatten_score_buffer",
        "dtqatten_sequencer",
    ]
    assert text.count("dtqatten_pod_20 pod_") == 16
    assert text.count("dtqatten_pe_20 pe_") == 1


def test_ports_are_flat_and_documented_names() -> None:
    text = verilog(ScoreArray(PRESETS["tiny"]), "array")
    (ports,) = re.findall(r"^module dtqatten_array\((.*)\);", text, re.MULTILINE)
    assert sorted(ports.split(", ")) == sorted(
        ["clk", "rst", "clear", "steps", "tiles", "mixed_tiles", "working"]
        + [f"{s}__{p}" for s in ("q", "k", "scores") for p in ("payload", "valid", "ready")]
    )


def test_export_is_repeatable_and_has_no_paths() -> None:
    first, second = (verilog(ScoreArray(PRESETS["tiny"]), "array") for _ in range(2))
    assert first == second
    assert "src" not in first
    # Combinational processes stay unknown in some simulators until an input changes.
    assert "always @*" not in first


def test_a_prefix_is_that_of_every_module_and_instance() -> None:
    text = verilog(ScoreArray(PRESETS["tiny"]), "array", prefix="mine_")
    names = re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
    assert "mine_array" in names
    assert all(name.startswith("mine_") for name in names)
    assert "dtqatten_" not in text
    check_verilog(text, "mine_array")


def test_sources_are_named_from_the_package_on() -> None:
    text = verilog(ScoreArray(PRESETS["tiny"]), "array", emit_src=True)
    files = set(re.findall(r"[\"|]([^\"|:]+\.py):\d", text))
    assert "hw/arrays/score_array.py" in files
    assert not any(file.startswith("/") for file in files)
    check_verilog(text, "dtqatten_array")


class Words(wiring.Component):
    """Ports and signals of names that Verilog reserves, and of one that is taken."""

    def __init__(self) -> None:
        super().__init__({"begin": In(4), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        release, twice, once = Signal(4), Signal(4, name="twice"), Signal(4, name="twice")
        release.name = "release"
        m.d.sync += [release.eq(self.begin), twice.eq(release), once.eq(twice)]
        m.d.comb += self.o.eq(Cat(twice, once))
        return m


def test_only_ports_of_the_top_module_have_escaped_names() -> None:
    text = verilog(Words(), "words")
    assert set(re.findall(r"\\(\S+) ", text)) == {"begin"}
    assert re.search(r"reg \[3:0\] release_\b", text)
    assert re.search(r"reg \[3:0\] twice_\d+\b", text)
    check_verilog(text, "dtqatten_words")


def test_files_begin_with_what_an_integrator_has_to_know() -> None:
    for component, name, sizes in (
        (Pod(PRESETS["tiny"], 20), "pe", PRESETS["tiny"]),
        (Broken(), "broken", None),
    ):
        comment = verilog(component, name).split("\n/*")[0]
        for port, _, _ in flat_ports(component.signature, component):
            assert re.search(rf"^//   (in |out) (\[\d+:0\] )?{port}$", comment, re.MULTILINE)
        assert all(line.startswith("//") for line in comment.splitlines())
        assert f"dtqatten {__version__}" in comment
        assert f"module dtqatten_{name} " in comment
        assert sizes is None or str(sizes) in comment
        for what in ("Apache-2.0", "rising edge", "synchronous", "active high", "One cycle resets"):
            assert what in comment


@pytest.mark.long
@pytest.mark.parametrize(
    "config",
    [
        Config(rows=32, cols=64, depth=16, d_head=128, n_max=1024),
        Config(rows=64, cols=32, depth=1, d_head=8, n_max=1024),
        Config(rows=2, cols=64, depth=128, d_head=128, n_max=1024),
    ],
    ids=["most multipliers", "most rows", "widest edge"],
)
def test_the_largest_arrays_elaborate(config: Config) -> None:
    assert "dtqatten_sequencer" in modules(verilog(ScoreArray(config), "array"))


class Broken(wiring.Component):
    i: In(1)
    o: Out(1)

    def elaborate(self, platform: object) -> Module:
        return Module()


class Indexed(wiring.Component):
    """Has an index of an only item, and drives one."""

    def __init__(self, config: Config) -> None:
        super().__init__({"index": In(range(1)), "next": Out(range(1)), "i": In(4), "o": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i + self.index)
        m.d.comb += self.next.eq(self.index)
        return m


class Outer(Indexed):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        inner = place(m, platform, "inner", Indexed, PRESETS["tiny"])
        m.d.comb += [inner.index.eq(self.index), self.next.eq(inner.next)]
        m.d.comb += [inner.i.eq(self.i), self.o.eq(inner.o)]
        return m


def test_members_of_no_bits_have_no_port() -> None:
    text = verilog(Outer(PRESETS["tiny"]), "outer")
    assert re.findall(r"^module \S+\((.*)\);", text, re.MULTILINE) == ["i, clk, rst, o"] * 2
    assert "-1" not in text
    assert check_verilog(text, "dtqatten_outer") == ""


class Remembering(wiring.Component):
    def __init__(self, init: list[int]) -> None:
        self.init = init
        super().__init__({"address": In(range(4)), "write": In(1), "data": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=8, depth=4, init=self.init)
        write, read = words.write_port(), words.read_port()
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.address), write.data.eq(7)]
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data)]
        return m


def test_memories_have_the_contents_that_they_were_given() -> None:
    """A RAM has none: zeros would hide, in a simulator, reads of what was never written."""
    assert "initial" not in verilog(Remembering([]), "ram")
    text = verilog(Remembering([0, 9]), "loaded")
    assert re.findall(r"words\[\d\] = (\S+);", text) == ["8'h00", "8'h09", "8'h00", "8'h00"]
    assert "initial" in verilog(Exponential(PRESETS["tiny"]), "exponential")


def test_kinds_are_told_apart_by_their_arguments() -> None:
    platform, m = ExportPlatform(), Module()
    for label, depth in (("a", 4), ("b", 4)):
        interface = place(m, platform, label, PE, PRESETS["tiny"].replace(depth=depth), 20)
        assert interface.acc.shape().width == 20
    assert list(platform.kinds) == ["dtqatten_pe_20"]
    place(m, platform, "c", Broken)
    assert list(platform.kinds) == ["dtqatten_pe_20", "dtqatten_broken"]
    for unit in (m, *platform.kinds.values()):
        Fragment.get(unit, platform)  # Amaranth warns of units that are never elaborated


def test_yosys_errors_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtqatten.hw.base.export.COLLECT", "no_such_pass\n")
    with pytest.raises(RuntimeError, match=r"Yosys failed on pe:\n.*no_such_pass"):
        verilog(Pod(PRESETS["tiny"], 20), "pe")
