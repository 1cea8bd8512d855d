"""slang, and verible's parser, on generated Verilog."""

import subprocess
import sys
from pathlib import Path

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.scratch import scratch
from dtqatten.hw.base.export import verilog, verilog_with_wrappers
from dtqatten.hw.blocks import Block, build
from dtqatten.sim.engines.slang import SLANG_WAIVERS, slang_verilog

GOOD = "module top(input [3:0] a, output [3:0] b); assign b = ~a; endmodule\n"


def test_what_is_wrong_is_told() -> None:
    assert slang_verilog(GOOD, "top") == ""
    assert "use of undeclared identifier 'c'" in slang_verilog(GOOD.replace("~a", "~c"), "top")
    assert "cannot refer to element 5" in slang_verilog(GOOD.replace("~a", "~a[5]"), "top")
    assert "'other' is not a valid top-level module" in slang_verilog(GOOD, "other")
    assert all(SLANG_WAIVERS.values())


@pytest.mark.parametrize("block", [Block.PE, Block.TOPK, Block.SOFTMAX, Block.SCORE_ACCUMULATOR])
@pytest.mark.parametrize("preset", PRESETS)
def test_blocks_of_the_presets_are_clean(preset: str, block: Block) -> None:
    text = verilog(build(block, SystemConfig(core=PRESETS[preset])), block)
    assert slang_verilog(text, f"dtqatten_{block}") == ""


def test_options_of_decode_are_clean() -> None:
    options = dict.fromkeys(("grouped", "skip_tiles", "progressive", "local_values"), True)
    core = PRESETS["tiny"].replace(chosen_values=True, bias_heads=3, **options)
    text = verilog(build(Block.SOFTMAX, SystemConfig(core=core)), Block.SOFTMAX)
    assert slang_verilog(text, "dtqatten_softmax") == ""


def test_the_wrapped_system_is_clean_and_verible_parses_it() -> None:
    system = SystemConfig(core=PRESETS["tiny"])
    text = "".join(verilog_with_wrappers(build(Block.SYSTEM, system), "system"))
    assert slang_verilog(text, "dtqatten_system") == ""
    with scratch() as folder:
        path = Path(folder) / "system.v"
        path.write_text(text)
        parse = [str(Path(sys.executable).with_name("verible-verilog-syntax")), str(path)]
        done = subprocess.run(parse, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        path.write_text(text.replace("endmodule", "endmodul", 1))
        assert subprocess.run(parse, capture_output=True, check=False).returncode
