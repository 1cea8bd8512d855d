"""A SoC for simulation: VexRiscv, caches, LiteDRAM with a model of its SDRAM, and the machine."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litedram import modules
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.sim import SimPlatform
from litex.soc.integration.builder import Builder
from litex.soc.integration.export import get_linker_regions
from litex.soc.integration.soc_core import SoCCore
from migen import ClockDomain, Module

from dtqatten.boards.litex.machine import add_dtqatten
from dtqatten.configuration.system import SystemConfig

__all__ = ["TOP", "SocConfig", "write_soc"]

#: Module of the SoC.
TOP = "dtqatten_soc"
#: Bytes of ROM and of internal RAM, for firmware.
ROM_BYTES, SRAM_BYTES = 1 << 17, 1 << 14

IO = [
    ("sys_clk", 0, Pins(1)),
    ("sys_rst", 0, Pins(1)),
    (
        "serial",
        0,
        *(
            Subsignal(f"{end}_{what}", Pins(bits))
            for end in ("source", "sink")
            for what, bits in (("valid", 1), ("ready", 1), ("data", 8))
        ),
    ),
]


@dataclass(frozen=True, kw_only=True)
class SocConfig:
    """A simulated SoC.

    Parameters
    ----------
    system : SystemConfig
    sdram : str
        Module of LiteDRAM.
    sdram_bits : int
        Width of the SDRAM.
    rate : str
        Clock of the controller to that of the SDRAM.
    l2_bytes : int
        Of the cache between the SoC's bus and LiteDRAM; 0: none.
    """

    system: SystemConfig
    sdram: str = "MT48LC16M16"
    sdram_bits: int = 32
    rate: str = "1:1"
    l2_bytes: int = 8192


class Clock(Module):
    """The clock domain of a simulation."""

    def __init__(self, platform: Any) -> None:
        self.clock_domains.cd_sys = ClockDomain("sys")
        self.comb += [
            self.cd_sys.clk.eq(platform.request("sys_clk")),
            self.cd_sys.rst.eq(platform.request("sys_rst")),
        ]


class SimulatedSoc(SoCCore):
    """VexRiscv with instruction and data cache, ROM, RAM, timer, UART, SDRAM and the machine.

    Parameters
    ----------
    config : SocConfig
    source : Path
        Verilog of the machine.
    """

    def __init__(self, config: SocConfig, source: Path) -> None:
        platform = SimPlatform("SIM", list(IO), name=TOP)
        self.crg = Clock(platform)
        # The model's SDRAM has the timings of 100 MHz.
        rate = int(100e6)
        super().__init__(
            platform,
            clk_freq=rate,
            cpu_type="vexriscv",
            cpu_variant="standard",
            integrated_rom_size=ROM_BYTES,
            integrated_rom_init=[0],
            integrated_sram_size=SRAM_BYTES,
            uart_name="sim",
            ident="",
        )
        module = getattr(modules, config.sdram)(rate, config.rate)
        self.sdrphy = SDRAMPHYModel(module, data_width=config.sdram_bits, clk_freq=rate)
        self.add_sdram("sdram", phy=self.sdrphy, module=module, l2_cache_size=config.l2_bytes)
        add_dtqatten(self, config.system, source=source)


def write_soc(config: SocConfig, source: Path, folder: Path) -> str:
    """Write what firmware is compiled with, and return a SoC's Verilog, module ``dtqatten_soc``.

    The ROM's content is the file ``dtqatten_soc_rom.init`` where the simulation runs.

    Parameters
    ----------
    config : SocConfig
    source : Path
        Verilog of the machine.
    folder : Path
        Where LiteX's C headers go, into ``generated``, and ``regions.ld``.
    """
    logging.getLogger().setLevel(logging.WARNING)
    soc = SimulatedSoc(config, source)
    builder = Builder(
        soc,
        output_dir=str(folder),
        include_dir=str(folder),
        compile_software=False,
        compile_gateware=False,
    )
    soc.finalize()
    builder._generate_includes(with_bios=False)
    (folder / "regions.ld").write_text(get_linker_regions(soc.mem_regions))
    found = soc.platform.get_verilog(soc, name=TOP)
    others = [Path(path).read_text() for path, *_ in soc.platform.sources]
    # Without its date the text is the same each time, and so is the model that is kept.
    undated = re.sub(r"^//.*\n", "", found.main_source, flags=re.MULTILINE)
    return "\n".join([undated, *others])
