"""Firmware on a simulated SoC: ``python -m dtqatten.boards.litex.run`` runs recorded layers."""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from dtqatten.boards.c_layers import c_chain
from dtqatten.boards.litex.firmware import compile_firmware
from dtqatten.boards.litex.simulated import ROM_BYTES, TOP, SocConfig, write_soc
from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.blocks import Block
from dtqatten.driver.expected import Expected, expected_layer
from dtqatten.files.errors import ToolError
from dtqatten.files.scratch import scratch
from dtqatten.golden.traces.recording import example_recording
from dtqatten.hw.base.export import PREFIX
from dtqatten.hw.system import System
from dtqatten.sim.engines.compiler import compiled
from dtqatten.sim.engines.exported import exported

__all__ = ["recorded_chain", "run_firmware"]

#: Ends what firmware says.
END = b"\x04"
#: Cycles that run at a time, bytes that are taken at a time, cycles at most.
SLICE, PIECE, DEADLINE = 1 << 16, 4096, 30_000_000

#: A machine that is compiled and simulated in seconds, and SoCs of it: with the SDRAM of a ULX3S, a
#: quarter of the bus's width, behind an L2; and with DDR3 of all of it, without.
SMALL = SystemConfig(
    core=Config(rows=2, cols=2, depth=4, d_head=8, n_max=16, heads=4, topk_lanes=2),
    bus_bits=64,
    address_bits=32,
)
SOCS = {
    "sdr": SocConfig(system=SMALL, sdram_bits=16),
    "ddr3": SocConfig(
        system=replace(SMALL, bus_bits=128),
        sdram="MT41K64M16",
        sdram_bits=16,
        rate="1:4",
        l2_bytes=0,
    ),
}


def recorded_chain(
    system: SystemConfig, layers: int = 2, heads: int = 4, tokens: int = 16
) -> tuple[list[Block], list[Expected]]:
    """Return recorded layers of a real encoder as a chain, and what the golden model makes of it.

    Parameters
    ----------
    system : SystemConfig
    layers, heads, tokens : int
        How many of the recording's, at most; channels are the machine's.
    """
    # `api.layers` has the rule by which a layer keeps tokens.
    from dtqatten.api.layers import Cascade

    recording = example_recording()
    tokens, d = min(tokens, system.core.n_max), system.core.d_head
    q, k, v = (
        each[:layers, :heads, :tokens, :d] for each in (recording.q, recording.k, recording.v)
    )
    cascade = Cascade(q, k, v)
    chain: list[Block] = []
    wanted: list[Expected] = []
    for _ in range(layers):
        layer = cascade.next_layer(system.core)
        golden = expected_layer(system.core, layer, wanted[-1] if wanted else None)
        four = golden.kept_four_bit
        cascade.keep(golden.ids, np.repeat([4, 8], [four, len(golden.ids) - four]))
        chain.append(layer)
        wanted.append(golden)
    return chain, wanted


def run_firmware(
    config: SocConfig,
    chain: Sequence[Block],
    wanted: Sequence[Expected],
    defines: Sequence[str] = (),
) -> Iterator[str]:
    """Run the firmware on a simulated SoC; yield the lines that it sends.

    Parameters
    ----------
    config : SocConfig
    chain : sequence of Layer or Call
    wanted : sequence of Expected
    defines : sequence of str
        Macros of the firmware.

    Raises
    ------
    ToolError
        If a tool fails, the firmware does not fit, or does not end.
    """
    with scratch() as folder:
        source = folder / f"{PREFIX}system.v"
        source.write_text(exported("system", System, config.system))
        text = write_soc(config, source, folder)
        rom = compile_firmware(folder, c_chain(chain, wanted), folder, defines)
        if len(rom) > ROM_BYTES:
            raise ToolError(f"firmware of {len(rom)} bytes for a ROM of {ROM_BYTES}: fewer tokens")
        words = [rom[at : at + 4].ljust(4, b"\0") for at in range(0, len(rom), 4)]
        (folder / f"{TOP}_rom.init").write_text("".join(f"{w[::-1].hex()}\n" for w in words))
        (folder / f"{TOP}_sram.init").write_text("")
        yield from _lines(text, folder)


def _lines(text: str, folder: Path) -> Iterator[str]:
    """Simulate a SoC in the folder of its ROM; yield lines until the end."""
    shim = resources.files("dtqatten.boards.litex").joinpath("soc.cpp").read_text()
    shim = f'#include "V{TOP}.h"\n#define MODEL V{TOP}\n{shim}'
    library = ctypes.CDLL(str(compiled(text, TOP.removeprefix(PREFIX), shim, 1)))
    library.create.restype = ctypes.c_void_p
    library.run.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint32]
    library.destroy.argtypes = [ctypes.c_void_p]
    # The ROM is read by its file's name when the model starts.
    with contextlib.chdir(folder):
        soc = library.create()
    sent, piece = b"", ctypes.create_string_buffer(PIECE)
    try:
        for _ in range(DEADLINE // SLICE):
            count = library.run(soc, SLICE, piece, PIECE)
            sent += piece.raw[:count]
            *lines, sent = sent.split(b"\n")
            yield from (line.decode() for line in lines)
            if sent.startswith(END):
                return
    finally:
        library.destroy(soc)
    raise ToolError(f"the firmware does not end within {DEADLINE} cycles; last it sent {sent!r}")


def main(
    soc: Annotated[str, typer.Argument(help=f"Which: {', '.join(SOCS)}.")] = "sdr",
    define: Annotated[list[str] | None, typer.Option(help="Macros of the firmware.")] = None,
) -> None:
    """Run recorded layers by the C driver on a simulated SoC; print what it sends."""
    if soc not in SOCS:
        raise typer.BadParameter(f"{soc}: choose one of {', '.join(SOCS)}")
    last = ""
    for last in run_firmware(SOCS[soc], *recorded_chain(SOCS[soc].system), define or ()):
        print(last, flush=True)
    raise typer.Exit(last != "PASS")


if __name__ == "__main__":
    typer.run(main)
