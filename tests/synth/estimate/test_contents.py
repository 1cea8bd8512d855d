"""What a design holds before mapping, against designs whose sizes are known."""

import json
from collections import Counter
from pathlib import Path

import pytest

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.memory_shape import Memory
from dtqatten.hw.blocks import Block
from dtqatten.synth.asic import memories
from dtqatten.synth.blocks import block_design
from dtqatten.synth.design import Design
from dtqatten.synth.estimate.contents import KINDS, Contents, contents_of
from dtqatten.synth.tools import yosys

ALL_KINDS = """
module leaf (input clk, input en, input rst, input [7:0] a, b, input [2:0] by,
             output reg [7:0] plain, held, cleared, output [7:0] sum, output [15:0] product,
             output [7:0] both, either, differ, picked, shifted, output all, same);
  always @(posedge clk) plain <= a;
  always @(posedge clk) if (en) held <= b;
  always @(posedge clk) if (rst) cleared <= 0; else cleared <= a;
  assign sum = a + b;
  assign product = a * b;
  assign both = a & b;
  assign either = a | b;
  assign differ = a ^ b;
  assign picked = en ? a : b;
  assign shifted = a << by;
  assign all = &a;
  assign same = a == b;
endmodule
"""

MEMORY = """
module store (input clk, input en, we, input [4:0] from, to, input [7:0] d, output reg [7:0] q);
  reg [7:0] words [0:31];
  always @(posedge clk) if (en) q <= words[from];
  always @(posedge clk) if (we) words[to] <= d;
endmodule
module pair (input clk, input en, we, input [4:0] from, to, input [7:0] d, output [15:0] q,
             output [7:0] now, input [1:0] at, input [7:0] mask, output [7:0] masked);
  store one (clk, en, we, from, to, d, q[7:0]);
  store other (clk, en, we, from, to, d, q[15:8]);
  reg [7:0] few [0:3];
  assign now = few[at];
  always @(posedge clk) if (we) few[to[1:0]] <= d;
  assign masked = mask & {8{we}};
endmodule
"""


def test_every_size_of_a_word_is_counted(tmp_path: Path) -> None:
    """Eight bits each, but what a constant takes away."""
    found = contents_of(Design("leaf", "leaf", {"leaf.v": ALL_KINDS}), tmp_path)
    assert found == {
        "leaf": Contents(
            Counter(
                {
                    "flip_flop": 24,
                    "enable": 8,
                    "reset": 8,
                    "adder": 8,
                    "product": 64,
                    "and": 8,
                    "or": 8,
                    "xor": 8,
                    "mux": 8,
                    "shift": 24,
                    "reduce": 8 + 16,
                }
            )
        )
    }
    assert found["leaf"].sizes.keys() < KINDS.keys()


def test_memories_are_macros_or_flip_flops(tmp_path: Path) -> None:
    """Reads without a register make a register file, and a mask of one signal is one gate a bit."""
    found = contents_of(Design("pair", "pair", {"pair.v": MEMORY}), tmp_path)
    store = Memory(32, 8, 2)
    assert found["store"] == Contents(memories=Counter({store: 1}))
    assert found["pair"].modules == Counter({"store": 2})
    assert found["pair"].sizes == Counter(register_file=32, read_port=32, **{"and": 8})
    assert found["store"].with_flip_flops([store]) == Counter()
    assert found["store"].with_flip_flops([]) == Counter(register_file=256, read_port=256)


@pytest.mark.parametrize("block", [Block.NORMALIZER, Block.ARRAY])
def test_its_memories_are_those_of_synthesis(block: Block, tmp_path: Path) -> None:
    """Which sees them after all of its passes on words."""
    system = SystemConfig(core=Config(rows=2, cols=4, depth=2, d_head=32, n_max=64))
    design = block_design("one", block, system)
    found = contents_of(design, tmp_path)
    yosys(
        f"{design.write(tmp_path)}hierarchy -top {design.top}\nproc\nopt_expr -mux_undef\n"
        f"synth -top {design.top} -run :fine\nwrite_json coarse.json\n",
        tmp_path,
        "coarse",
    )
    coarse = memories(json.loads((tmp_path / "coarse.json").read_text()))
    assert {memory for one in found.values() for memory in one.memories} == coarse
