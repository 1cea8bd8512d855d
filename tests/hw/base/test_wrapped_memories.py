"""SRAMs in wrapper modules: the same machine, whatever a macro does where nobody looks."""

import re

import numpy as np
import pytest

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.cycles.random_layers import random_chain
from dtqatten.hw.base.export import verilog, verilog_with_wrappers
from dtqatten.hw.base.memory_shape import Memory
from dtqatten.hw.base.wrapped_memories import Wrapped, together, wrap, wrappers
from dtqatten.hw.blocks import Block, build
from dtqatten.hw.core import AttentionCore
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.core import CoreLockstep
from dtqatten.sim.proofs.yosys import check_verilog

TINY = PRESETS["tiny"]
NARROW = Config(rows=1, cols=1, depth=1, d_head=8, n_max=1, topk_lanes=1)
ONE_PORT = {"clk", "ren", "addr", "rdata", "wen", "wdata"}
TWO_PORTS = ONE_PORT - {"addr"} | {"raddr", "waddr"}


def instances(text: str) -> set[str]:
    return set(re.findall(r"^  (mine_sram_\w+) \w+ +\($", text, re.MULTILINE))


def hostile(models: str) -> str:
    """Return models that read the wrong word where one is written in the same cycle."""
    for address, collides in (("addr", "|wen"), ("raddr", "|wen && raddr == waddr")):
        read = f"sram_contents[{address}]"
        assert f"rdata <= {read};" in models
        models = models.replace(f"rdata <= {read};", f"rdata <= {collides} ? ~{read} : {read};")
    return models


@pytest.mark.parametrize("block", ["core", "system"])
@pytest.mark.parametrize("config", [TINY, NARROW], ids=["tiny", "narrow"])
def test_every_instance_has_a_wrapper_and_every_wrapper_a_model(block: str, config: Config) -> None:
    component = build(Block(block), SystemConfig(core=config))
    design, models = verilog_with_wrappers(component, block, prefix="mine_")
    known = set(re.findall(r"^module (mine_sram_\w+) \($", design + models, re.MULTILINE))
    assert instances(design) == known
    assert len(re.findall("^module ", models, re.MULTILINE)) == len(
        re.findall(r"^module mine_sram_\w+_(?:1rw|1r1w) \($", models, re.MULTILINE)
    )
    for body in re.findall(r"^  mine_sram_\w+ \w+ +\(\n(.*?)^  \);", design, re.M | re.S):
        pins = set(re.findall(r"\.(\w+)\([^)]", body))
        assert pins in (ONE_PORT, TWO_PORTS)
    assert check_verilog(design + models, f"mine_{block}") == ""
    for words, width, body in re.findall(
        r"^module mine_sram_(\d+)x(\d+)_\w+ \((.*?)^endmodule", models, re.M | re.S
    ):
        assert f"reg [{int(width) - 1}:0] sram_contents [0:{int(words) - 1}];" in body


def test_what_stays_is_no_sram() -> None:
    """ROMs, register files without registered reads, and three sums that see their own write."""
    design, _ = verilog_with_wrappers(AttentionCore(TINY), "core")
    inferred = verilog(AttentionCore(TINY), "core")
    memory = r"^  reg (?:\[\d+:0\] )?(\w+) \[\d+:0\];$"
    left = re.findall(memory, design, re.MULTILINE)
    assert 0 < len(left) < len(re.findall(memory, inferred, re.MULTILINE))
    assert left.count("totals") == 3
    assert "bank_0" not in left


CELL = r"""
  cell $mem_v2 \store
    parameter \ABITS {bits}
    parameter \INIT {init}
    parameter \OFFSET 0
    parameter \RD_CLK_ENABLE {clocked}
    parameter \RD_CLK_POLARITY 1'1
    parameter \RD_COLLISION_X_MASK 1'0
    parameter \RD_PORTS 1
    parameter \RD_TRANSPARENCY_MASK {through}
    parameter \RD_WIDE_CONTINUATION 1'0
    parameter \SIZE 4
    parameter \WIDTH 8
    parameter \WR_CLK_POLARITY 1'1
    parameter \WR_PORTS {writes}
    parameter \WR_WIDE_CONTINUATION 1'0
    connect \RD_ADDR \a
    connect \RD_ARST {reset}
    connect \RD_DATA \q
    connect \RD_EN \e
    connect \RD_SRST 1'0
    connect \WR_ADDR {write}
    connect \WR_CLK \clk
    connect \WR_DATA \d
    connect \WR_EN \w
  end
"""
PLAIN = {
    "bits": 2,
    "init": "32'x",
    "clocked": "1'1",
    "through": "1'0",
    "writes": "1",
    "reset": "1'0",
    "write": "\\b",
}


@pytest.mark.parametrize(
    ("change", "memory"),
    [
        ({}, Memory(4, 8)),
        ({"write": "\\a"}, Memory(4, 8, ports=1)),
        ({"init": "32'x1"}, None),
        ({"clocked": "1'0"}, None),
        ({"through": "1'1"}, None),
        ({"writes": "0"}, None),
        ({"writes": "2"}, None),
        ({"reset": "\\r"}, None),
    ],
)
def test_which_memories_are_wrapped(change: dict[str, str], memory: Memory | None) -> None:
    text = CELL.format(**PLAIN | change)
    out, found = wrap(text, "p_")
    assert found == ({} if memory is None else {Wrapped(memory): 1})
    if memory is None:
        assert out == text
    else:
        assert f"cell \\p_{memory.cell} \\store" in out
        assert "$mem" not in out


def test_one_word_has_an_address_of_one_bit() -> None:
    out, _ = wrap(CELL.format(**PLAIN | {"bits": 0, "write": "{ }"}), "p_")
    assert "connect \\waddr 1'0\n" in out
    assert "connect \\raddr 1'0\n" in out


def test_several_read_ports_are_copies() -> None:
    several, models = wrappers({Wrapped(Memory(4, 8), 2): 8, Wrapped(Memory(4, 8)): 4}, "p_")
    assert len(several) == 1
    assert "module p_sram_4x8_2r1w (" in several[0]
    assert "copy_1" in several[0]
    assert models.count("module ") == 1
    assert models.startswith("// Bits of wen are alike in groups of 4.\n")


@pytest.mark.parametrize(
    ("enables", "width", "bits"),
    [
        (r"{ \a \a \a \a }", 4, 4),
        (r"{ \a [1] \a [1] \a [0] \a [0] }", 4, 2),
        (r"{ \a \a \b \b \b \b }", 6, 2),
        (r"{ \a \b \a \b }", 4, 1),
        (r"{ \a [3:2] \b \b }", 4, 1),
        (r"{ \a [1] \a [1] \a \a [0] \a [0] }", 6, 3),
        (r"{ \a [2] \a [2:1] \a [1:0] \a [0] }", 6, 2),
        (r"{ \a \a }", 4, 1),
        (r"\a", 1, 1),
        (r"\a [3:0]", 4, 1),
    ],
)
def test_bits_that_are_written_together(enables: str, width: int, bits: int) -> None:
    assert together(enables, width) == bits


def test_the_wrapped_core_is_the_same_machine() -> None:
    """Cycle by cycle, and whatever a macro answers to a read of a word that is written."""
    config = Config(rows=2, cols=3, depth=4, d_head=16, n_max=18, topk_lanes=4, cumulative=True)
    core = AttentionCore(config)
    design, models = verilog_with_wrappers(core, "core")
    model = VerilatedModel(core, "core", text=design + hostile(models))
    bench = CoreLockstep(config, random_chain(config, np.random.default_rng(3), 3), stall=0.3)
    model.run(bench)
    bench.verify()
