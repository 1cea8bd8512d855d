# amaranth: UnusedElaboratable=no
"""Bitstreams: clocks, pins and constraints; what misses its clock is not built."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module, Signal

from dtqatten.boards import build as flow
from dtqatten.boards import toolchain
from dtqatten.boards.catalog import BOARDS, Board, Family, board_of
from dtqatten.boards.pins import COMPARED_HZ, START_BITS, VCO_HZ, Pins, platform_of, pll_for
from dtqatten.boards.program import program
from dtqatten.boards.toolchain import TOOLCHAINS, Apicula
from dtqatten.configuration.fields import ConfigError
from dtqatten.files.errors import ToolError, UsageError
from dtqatten.sim.engines.native import run
from dtqatten.synth.fpga import AIM

ULX3S = BOARDS["ulx3s-85f"]
WITH_PLL = [board for board in BOARDS.values() if board.clock_hz != board.oscillator_hz]


@pytest.mark.parametrize("board", WITH_PLL, ids=lambda board: board.name)
def test_the_pll_makes_the_clock_within_its_limits(board: Board) -> None:
    pll = pll_for(board.oscillator_hz, board.clock_hz)
    compared = board.oscillator_hz / pll.reference
    assert compared * pll.feedback == board.clock_hz
    assert COMPARED_HZ[0] <= compared <= COMPARED_HZ[1]
    assert VCO_HZ[0] <= board.clock_hz * pll.output <= VCO_HZ[1]


def test_clocks_that_no_divider_makes_are_refused() -> None:
    with pytest.raises(ConfigError, match="the PLL does not make of 25000000 Hz"):
        pll_for(25_000_000, 83_333_333)
    with pytest.raises(ConfigError, match="baud is 30000000"):
        replace(ULX3S, clock_hz=80_000_000, baud=30_000_000).config()


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_pins_are_those_of_the_platform(board: Board) -> None:
    tools = TOOLCHAINS[board.family]
    plan = platform_of(board).prepare(Pins(board), flow.TOP)
    constraints, netlist = (
        content if isinstance(content, str) else content.decode()
        for content in (plan.files[tools.constraints], plan.files["top.il"])
    )
    located = {Family.ECP5: 'LOCATE COMP "{}" SITE', Family.GOWIN: 'IO_LOC "{}" '}[board.family]
    for name in ("uart_0__rx__io", "uart_0__tx__io"):
        assert located.format(name) in constraints
    lights = 4 if board.name == "ecpix5-85f" else 5
    assert len([line for line in constraints.splitlines() if "led" in line]) == 2 * lights
    assert "\\dtqatten_board" in netlist
    assert ("\\EHXPLLL" in netlist) == (board in WITH_PLL)
    clocks = [line for line in tools.aimed(constraints).splitlines() if "FREQUENCY" in line]
    aims = [f" {board.oscillator_hz * AIM:.1f} HZ;"] if board.family is Family.ECP5 else []
    assert [line[-len(aim) :] for line, aim in zip(clocks, aims, strict=True)] == aims
    module, _ = board.platform
    assert importlib.import_module(module)


def test_without_a_pll_the_machine_is_reset_for_some_cycles() -> None:
    m = Module()
    m.domains.sync = ClockDomain(reset_less=True)
    ready = Signal()
    m.d.comb += ready.eq(Pins._started(m))

    async def bench(ctx: Any) -> None:
        for _ in range(1 << START_BITS):
            assert not ctx.get(ready)
            await ctx.tick()
        for _ in range(3):
            assert ctx.get(ready)
            await ctx.tick()

    run(m, bench, deadline=400)


def test_luts_of_a_gowin_are_those_of_sums_and_memories_too() -> None:
    used = {"lut": 1000, "alu": 200, "ram": 30, "ff": 70, "bram": 5}
    assert Apicula().counted(used) == {"lut": 1320, "ff": 70, "bram": 5, "dsp": 0}


def quick_tools(
    monkeypatch: pytest.MonkeyPatch, rates: list[float], fits: bool = True, exact: bool = True
) -> list[int]:
    """Replace the tools by ones that are done at once; return the seeds that are tried."""
    seeds: list[int] = []

    def placed(device: Any, folder: Path, *, mhz: float, seed: int) -> dict[str, Any]:
        assert {"--lpf", "--textcfg"} <= set(device.options)
        seeds.append(seed)
        used = {"lut": 40_000 if fits else 90_000, "ff": 20_000, "bram": 120, "dsp": 20}
        found = {"used": used, "fits": fits}
        if not fits:
            return found
        (folder / "top.config").write_text(f"seed {seed}")
        return {**found, "fmax_mhz": rates[seed - 1], "critical_path": None, "seed": seed}

    def module(name: str, arguments: list[str], folder: Path, log: str, *, tool: str) -> None:
        assert tool == "ecppack"
        (folder / "top.bit").write_bytes((folder / "top.config").read_bytes())

    monkeypatch.setattr(flow, "design", lambda _: "module dtqatten_board(); endmodule")
    monkeypatch.setattr(flow, "simulated_exact", lambda _: exact)
    monkeypatch.setattr(flow, "map_logic", lambda *_: None)
    monkeypatch.setattr(flow, "placed", placed)
    monkeypatch.setattr(toolchain, "module", module)
    return seeds


def test_the_first_placement_that_is_fast_enough_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = ULX3S.clock_hz / 1e6
    seeds = quick_tools(monkeypatch, [needed - 0.1, needed, 99.0])
    result = flow.build(ULX3S, tmp_path, seeds=3)
    assert seeds == [1, 2]
    assert (tmp_path / "ulx3s-85f.bit").read_text() == "seed 2"
    assert json.loads((tmp_path / "ulx3s-85f.json").read_text()) == json.loads(json.dumps(result))
    assert (result["fmax_mhz"], result["needed_mhz"], result["seed"]) == (needed, needed, 2)
    assert result["tried_mhz"] == [needed - 0.1, needed]
    cells = {"luts": 40_000, "ffs": 20_000, "brams": 120, "dsps": 20}
    assert {name: result[name] for name in cells} == cells
    assert result["simulated_exact"] is True


def test_what_misses_its_clock_or_does_not_fit_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is an earlier bitstream left, which would be taken for it."""
    quick_tools(monkeypatch, [90.0])
    flow.build(ULX3S, tmp_path)
    assert (tmp_path / "ulx3s-85f.bit").exists()
    needed = ULX3S.clock_hz / 1e6
    quick_tools(monkeypatch, [needed - 0.01, 17.5])
    with pytest.raises(
        flow.TooSlowError, match=rf"needs {needed} MHz and reaches {needed}, 17.5: it is not"
    ):
        flow.build(ULX3S, tmp_path, seeds=2)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    quick_tools(monkeypatch, [90.0], fits=False)
    with pytest.raises(ToolError, match="ulx3s-85f is too small: 90000 lut of 83640"):
        flow.build(ULX3S, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    quick_tools(monkeypatch, [90.0], exact=False)
    with pytest.raises(ToolError, match="ulx3s-85f, simulated, differs from the golden model"):
        flow.build(ULX3S, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


#: What is in place of the machine where only the flow is of interest.
LOOP = """
module dtqatten_board(input clk, input rst, input rx, output tx, output [4:0] leds);
  reg [26:0] count = 0;
  reg line = 1;
  always @(posedge clk) begin
    count <= rst ? 0 : count + 1;
    line <= rx;
  end
  assign tx = line;
  assign leds = count[26:22];
endmodule
"""


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_the_tools_make_a_bitstream_of_pins_and_clock(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow as it is, on a wire and a counter in place of the machine."""
    monkeypatch.setattr(flow, "design", lambda _: LOOP)
    monkeypatch.setattr(flow, "simulated_exact", lambda _: True)
    told: list[str] = []
    result = flow.build(board, tmp_path, step=told.append)
    assert told == ["simulation", "Verilog", "logic", "place and route", "bitstream"]
    assert result["fmax_mhz"] > result["needed_mhz"]
    assert 27 < result["ffs"] < 60
    content = (tmp_path / board.bitstream).read_bytes()
    assert len(content) == result["bytes"] > 10_000
    log = (tmp_path / "work" / board.name / "nextpnr.log").read_text()
    if board.family is Family.ECP5:
        assert board.fpga[:-2].encode() in content[:200]
        aim = f"Derived frequency constraint of {board.clock_hz * AIM / 1e6:.1f} MHz"
    else:
        assert f"for device '{board.fpga}'" in log
        assert set(content) <= set(b"01\n")
        aim = f"at {board.clock_hz * AIM / 1e6:.2f} MHz)"
    assert aim in log


def test_programming_calls_the_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bitstream, said = tmp_path / "x.bit", tmp_path / "said"
    with pytest.raises(UsageError, match="there is no bitstream"):
        program(ULX3S, bitstream)
    bitstream.write_text("x")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="openFPGALoader is not installed"):
        program(ULX3S, bitstream)
    loader = tmp_path / "openFPGALoader"
    loader.write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    loader.chmod(0o755)
    program(ULX3S, bitstream)
    assert said.read_text().split() == ["--board", "ulx3s", str(bitstream)]
    program(ULX3S, bitstream, flash=True)
    assert "--write-flash" in said.read_text()
    loader.write_text("#!/bin/sh\necho no board >&2\nexit 3\n")
    with pytest.raises(ToolError, match=r"exit code 3\):\nno board"):
        program(ULX3S, bitstream)


def test_boards_have_names() -> None:
    assert board_of("ulx3s-85f") is ULX3S
    with pytest.raises(UsageError, match="no board 'ulx4m': choose one of ulx3s-85f, ecpix5"):
        board_of("ulx4m")
