"""The lint finds what is wrong, and only that."""

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import PREFIX, verilog
from dtqatten.hw.blocks import Block, build
from dtqatten.sim.engines.lint import lint_verilog
from dtqatten.sim.engines.slang import slang_verilog
from dtqatten.sim.engines.waivers import WAIVERS
from dtqatten.sim.machine.samples import small_machines
from dtqatten.sim.proofs.yosys import check_verilog

#: A hundred configurations; those that take longest are fewest. A system has a core in it.
COUNTS = {
    Block.SYSTEM: 2,
    Block.CORE: 4,
    Block.ARRAY: 14,
    Block.SOFTMAX: 6,
    Block.VALUE_ARRAY: 12,
    Block.NORMALIZER: 18,
    Block.TOKEN_RANKING: 4,
    Block.SCORE_ACCUMULATOR: 16,
    Block.TOPK: 6,
    Block.PE: 18,
}
SAMPLE = [
    pytest.param(block, machine, number % 2 == 1, id=f"{block}-{number}")
    for seed, (block, count) in enumerate(COUNTS.items())
    for number, machine in enumerate(small_machines(count, seed))
]


@pytest.mark.parametrize(("block", "machine", "monitored"), SAMPLE)
def test_verilog_of_any_configuration_is_clean(block, machine, monitored) -> None:
    text = verilog(build(block, machine, monitored=monitored), block)
    assert "[-1:0]" not in text
    assert lint_verilog(text, f"{PREFIX}{block}") == ""
    assert check_verilog(text, f"{PREFIX}{block}") == ""


def test_a_system_of_two_clocks_is_clean() -> None:
    machine = SystemConfig(core=PRESETS["tiny"])
    text = verilog(build(Block.SYSTEM, machine, lite_clock=True), "two_clock_system")
    top = f"{PREFIX}two_clock_system"
    assert [check(text, top) for check in (lint_verilog, slang_verilog, check_verilog)] == [""] * 3


def test_the_sample_has_all_edges() -> None:
    assert len(SAMPLE) == 100
    for block in Block:
        cores = [machine.core for of, machine, _ in (p.values for p in SAMPLE) if of is block]
        assert any(core.n_max <= core.cols for core in cores)
        assert any(core.n_max > core.cols for core in cores)
        for name in (
            "v_gains",
            "schedule",
            "planes",
            "product_stages",
            "rows",
            "sinks",
            "merge_rows",
            "topk_engine",
            "unsigned_weights",
            "bias_heads",
            "block_exponents",
            "windows",
            "grouped",
            "skip_tiles",
            "local_values",
        ):
            assert len({getattr(core, name) for core in cores}) >= 2, (block, name)
    every = [machine.core for _, machine, _ in (p.values for p in SAMPLE)]
    # Others exclude these, so there are fewer.
    for name in ("progressive", "chosen_values"):
        assert sum(getattr(core, name) for core in every) >= 10, name
    assert {core.bias_heads for core in every} == {0, 1, 3}


def test_a_fault_is_found() -> None:
    wrong = "module m(o);\n  output o;\n  wire w;\n  assign o = w;\nendmodule\n"
    assert "UNDRIVEN" in lint_verilog(wrong, "m")
    assert "syntax error" in lint_verilog("module m(;", "m")
    assert "there is no module n" in lint_verilog("module m(a);\n  input a;\nendmodule\n", "n")
    assert all(WAIVERS.values())


LEAF = "module leaf(a, b);\n  input [3:0] a;\n  output b;\n  assign b = ^a;\nendmodule\n"
TOP = (
    "module top(a, b);\n  input [3:0] a;\n  output b;\n"
    "  leaf leaf_0 (\n    .a(a),\n    .b(b)\n  );\nendmodule\n"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TOP + LEAF, ""),
        (TOP + LEAF.replace("^a", "^{a, c}").replace("assign", "wire c;\n  assign"), "UNDRIVEN"),
        (TOP.replace("  leaf", "  wire c;\n  leaf").replace("(b)", "(c)") + LEAF, "UNDRIVEN"),
        (TOP.replace(",\n    .b(b)", "") + LEAF, "PINMISSING"),
        (TOP.replace(".a(a)", ".c(a)") + LEAF, "PINNOTFOUND"),
        (TOP, "Cannot find file containing module: 'leaf'"),
        (TOP + LEAF.replace("assign b = ^a", "reg b; always @(posedge a[0]) b = 1"), "BLKSEQ"),
    ],
)
def test_every_module_is_linted_with_what_it_instantiates(text, says) -> None:
    found = lint_verilog(text, "top")
    assert says in found if says else found == ""


def test_yosys_finds_faults() -> None:
    assert "no driver" in check_verilog("module m(output o); wire w; assign o = w; endmodule", "m")
    assert "two" in check_verilog("module m; two t(); endmodule", "m")
