"""The lint finds what is wrong, and only that."""

from dtqatten import PRESETS
from dtqatten.hw.core import AttentionCore
from dtqatten.hw.export import verilog
from dtqatten.sim.lint import WAIVERS, lint_verilog


def test_generated_verilog_is_clean() -> None:
    assert lint_verilog(verilog(AttentionCore(PRESETS["tiny"]), "core"), "dtqatten_core") == ""


def test_a_fault_is_found() -> None:
    assert "UNDRIVEN" in lint_verilog(
        "module m(output o);\n  wire w; assign o = w;\nendmodule", "m"
    )
    assert "syntax error" in lint_verilog("module m(;", "m")
    assert all(WAIVERS.values())
