"""A board whose memory is SDRAM: LiteDRAM's controller and its model of the SDRAM, on Verilator."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from board_line import SMALL
from dtqatten.boards import build as flow
from dtqatten.boards.catalog import BOARDS, Memory
from dtqatten.boards.gateware.machine import BoardConfig
from dtqatten.boards.gateware.sdram_memory import pad_members
from dtqatten.boards.host import device_on, random_recording, run_layers
from dtqatten.boards.sdram import controller
from dtqatten.boards.simulated import design, served
from dtqatten.configuration.fields import ConfigError
from dtqatten.driver.serial_bus import SerialBus
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.select import PAPER_SHARES
from dtqatten.interface.host_link import MEMORY_BASE

BOARD = SMALL.using(Memory.SDRAM)
ULX3S = BOARDS["ulx3s-85f"].using(Memory.SDRAM)


@pytest.fixture(scope="module")
def bus() -> Iterator[SerialBus]:
    """The line to the smallest machine with an SDRAM."""
    with served(BOARD) as simulated:
        line = SerialBus(simulated.port, baud=BOARD.baud)
        yield line
        line.close()


def test_a_layer_through_the_sdram_is_exact(bus: SerialBus) -> None:
    """Twice: what the first one leaves in open rows does not matter."""
    device = device_on(bus, BOARD)
    assert bus.memory_bytes == 32 << 20
    for seed in range(2):
        layer = random_recording(BOARD, 2, 8, seed)
        run_layers(device, BOARD, layer, shares=PAPER_SHARES)


def test_the_host_finds_its_words_again(bus: SerialBus) -> None:
    """In all banks, at the ends of rows and of the SDRAM; each has a place of its own."""
    rng = np.random.default_rng(0)
    size = bus.memory_bytes
    ends = [0, 4, 8, 1020, 1024, 2044, 4092, 4096, size // 2, size - 4]
    powers = [1 << bit for bit in range(2, 25)]
    places = sorted({*ends, *powers, *(4 * rng.integers(size // 4, size=40)).tolist()})
    words = {MEMORY_BASE + place: rng.integers(1 << 32) for place in places}
    for address in rng.permutation(list(words)).tolist():
        bus.write(address, int(words[address]).to_bytes(4, "little"))
    for address in rng.permutation(list(words)).tolist():
        assert int.from_bytes(bus.read(address, 4), "little") == words[address]
    block = rng.bytes(3000)
    bus.write(MEMORY_BASE + 3072, block)
    assert bus.read(MEMORY_BASE + 3072, len(block)) == block


def test_the_controller_has_pads_on_a_board_alone() -> None:
    real, simulated = (controller(config) for config in (ULX3S.config(), ULX3S.simulated()))
    for name in pad_members(ULX3S.config().sdram):  # type: ignore[arg-type]
        port = re.compile(rf"^ +(in|out)put +(wire|reg) .* {name},?$", re.MULTILINE)
        assert port.search(real)
        assert not port.search(simulated)
    assert controller(ULX3S.config()) == real
    # 200 us before the first command, whatever the clock.
    assert "14'd10000" in real
    faster = replace(ULX3S, clock_hz=75_000_000)
    assert "14'd15000" in controller(faster.config())


def test_boards_without_sdram_and_other_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="ecpix5-85f has no SDRAM for the machine: choose --memo"):
        BOARDS["ecpix5-85f"].using(Memory.SDRAM)
    assert ULX3S.using(Memory.SDRAM) is ULX3S
    assert ULX3S.bitstream == "ulx3s-85f-sdram.bit"
    with pytest.raises(ConfigError, match="memory_bytes is 4096, but MT48LC16M16 has 33554432"):
        replace(ULX3S, memory_bytes=4096).config()


def test_the_tools_make_a_bitstream_of_controller_and_pads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow as it is; what is left of the machine copies words of the SDRAM to themselves."""

    def small(config: BoardConfig) -> str:
        pads = pad_members(config.sdram)  # type: ignore[arg-type]
        flows = {"In": "input", "Out": "output"}
        ports = [
            f"{flows[member.flow.name]} [{member.shape - 1}:0] {name}"
            for name, member in pads.items()
        ]
        joined = ", ".join(f".{name}({name})" for name in pads)
        return f"""
module dtqatten_board(input clk, input rst, input rx, output tx, output [4:0] leds,
  {", ".join(ports)});
  reg [31:0] at = 0;
  reg [31:0] word = 0;
  wire done, cmd_ready, gives, takes, ar_ready;
  wire [31:0] read;
  always @(posedge clk) begin
    if (cmd_ready) at <= at + 1;
    if (gives) word <= read + rx;
  end
  assign tx = ^word;
  assign leds = {{done, takes, 3'b0}};
  dtqatten_sdram controller(.clk(clk), .rst(rst), .done(done), .cmd_valid(done),
    .cmd_ready(cmd_ready), .cmd_we(at[0]), .cmd_addr(at), .wdata_valid(1'b1), .wdata_ready(takes),
    .wdata_we(4'hf), .wdata_data(word), .rdata_valid(gives), .rdata_ready(1'b1), .rdata_data(read),
    .arvalid(1'b0), .awvalid(1'b0), .wvalid(1'b0), .rready(1'b1), .bready(1'b1), {joined});
endmodule
{controller(config)}"""

    monkeypatch.setattr(flow, "design", small)
    monkeypatch.setattr(flow, "simulated_exact", lambda _: True)
    result = flow.build(ULX3S, tmp_path)
    assert result["fmax_mhz"] > result["needed_mhz"]
    assert result["memory"] == "sdram"
    assert result["memory_bytes"] == 32 << 20
    constraints = (tmp_path / "work" / ULX3S.name / "top.lpf").read_text()
    assert len(re.findall(r'LOCATE COMP "sdram_0__\w+', constraints)) == 13 + 2 + 6 + 2 + 16


def test_a_design_has_both_parts() -> None:
    text = design(BOARD.simulated())
    assert text.count("\nmodule dtqatten_board(") == 1
    assert len(re.findall(r"^module dtqatten_sdram ", text, re.MULTILINE)) == 1
