"""The machine as a LiteX module: memory on LiteDRAM, registers on the SoC's bus, an interrupt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litedram.frontend.axi import LiteDRAMAXI2Native
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect.axi import AXIInterface, AXILiteInterface
from migen import ClockSignal, Instance, ResetSignal, Signal

from dtqatten.configuration.fields import ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text
from dtqatten.hw.base.export import PREFIX, verilog
from dtqatten.hw.system import System
from dtqatten.interface.registers import ADDRESS_BITS

__all__ = ["APERTURE", "Machine", "add_dtqatten"]

#: Module of the machine.
TOP = f"{PREFIX}system"
#: Of module, region and interrupt: ``dtqatten_litex.c`` takes LiteX's names of both from it.
NAME = "dtqatten"
#: Bytes of the region of the registers: a page, so that an operating system can map it. The
#: registers repeat in it.
APERTURE = 4096
#: Their address where there is no CPU: LiteX would choose that of its own registers.
ORIGIN = 0x8000_0000
#: Bits of an AXI ID.
ID_BITS = 4
#: Members of the channels of LiteX's AXI that the machine has as ports.
CHANNELS = {
    "aw": ("valid", "ready", "id", "addr", "len", "size", "burst", "cache", "prot"),
    "w": ("valid", "ready", "data", "strb", "last"),
    "b": ("valid", "ready", "id", "resp"),
    "ar": ("valid", "ready", "id", "addr", "len", "size", "burst", "cache", "prot"),
    "r": ("valid", "ready", "id", "data", "resp", "last"),
}
#: Those of AXI-Lite.
LITE_CHANNELS = {
    "aw": ("valid", "ready", "addr", "prot"),
    "w": ("valid", "ready", "data", "strb"),
    "b": ("valid", "ready", "resp"),
    "ar": ("valid", "ready", "addr", "prot"),
    "r": ("valid", "ready", "data", "resp"),
}


@dataclass(frozen=True)
class InterruptLine:
    """What LiteX's interrupt controller takes of an event manager: the line, level."""

    irq: Signal


class Machine(LiteXModule):
    """The machine, of which LiteX synthesizes the Verilog that ``dtqatten verilog`` writes.

    Parameters
    ----------
    platform : GenericPlatform
        Gets the Verilog as a source.
    system : SystemConfig
    source : Path
        That Verilog.

    Attributes
    ----------
    bus : AXIInterface
        Memory, a master of ``system.bus_bits``.
    registers : AXILiteInterface
        A subordinate of 32 bits.
    ev : InterruptLine

    Raises
    ------
    UsageError
        If the Verilog is missing, or another machine's.
    """

    def __init__(self, platform: Any, system: SystemConfig, source: Path) -> None:
        _check_source(source, system)
        self.bus = AXIInterface(
            data_width=system.bus_bits, address_width=system.address_bits, id_width=ID_BITS
        )
        self.registers = AXILiteInterface(data_width=32, address_width=32)
        self.ev = InterruptLine(Signal(name="dtqatten_irq"))
        platform.add_source(str(source))
        ports: dict[str, Any] = {
            "i_clk": ClockSignal(),
            "i_rst": ResetSignal(),
            "o_irq": self.ev.irq,
        }
        for prefix, interface, channels, master in (
            ("m_axi_", self.bus, CHANNELS, True),
            ("s_axil_", self.registers, LITE_CHANNELS, False),
        ):
            for channel, members in channels.items():
                asks = channel not in ("b", "r")
                for member in members:
                    driven = (asks == master) != (member == "ready")
                    name = f"{'o' if driven else 'i'}_{prefix}{channel}{member}"
                    value = getattr(getattr(interface, channel), member)
                    # LiteX's buses have all bits of an address.
                    lite = interface is self.registers and member == "addr"
                    ports[name] = value[:ADDRESS_BITS] if lite else value
        self.specials += Instance(TOP, name=TOP, **ports)


def add_dtqatten(
    soc: Any,
    system: SystemConfig,
    *,
    origin: int | None = None,
    source: str | Path | None = None,
) -> Machine:
    """Put the machine into a SoC that has LiteDRAM, and connect it.

    Module, region and interrupt are called ``dtqatten``, by which the C driver finds them.
    Memory is a port of LiteDRAM's crossbar, at the addresses at which the CPU has ``main_ram``;
    registers are a region of 4096 bytes on the SoC's bus; where the CPU takes interrupts, one is
    the machine's. Caches of the CPU and the SoC's L2 do not see what the machine writes: the C
    driver's ``dtqatten_litex.c`` maintains them.

    Parameters
    ----------
    soc : SoCCore
        With ``add_sdram`` done.
    system : SystemConfig
        Of which ``address_bits`` reach the end of ``main_ram``, and ``bus_bits`` are not fewer than
        LiteDRAM's ports have.
    origin : int, optional
        Address of the registers; by default LiteX chooses, and without a CPU it is 0x80000000.
    source : str or Path, optional
        Verilog of the machine that is there already: ``dtqatten verilog --block system``. By
        default it is written below ``build/dtqatten``.

    Raises
    ------
    ConfigError
        If the machine cannot address the memory, or its bus is narrower than LiteDRAM's.
    UsageError
        If the SoC has no LiteDRAM, or the Verilog is another machine's.
    """
    if not hasattr(soc, "sdram") or "main_ram" not in soc.bus.regions:
        raise UsageError(
            "the SoC has no LiteDRAM: call its add_sdram first, without --integrated-main-ram-size"
        )
    memory = soc.bus.regions["main_ram"]
    last = memory.origin + memory.size - 1
    if last >> system.address_bits:
        raise ConfigError(
            f"address_bits is {system.address_bits}, but main_ram ends at {last:#x}: choose "
            f"{last.bit_length()} or more"
        )
    width = soc.sdram.crossbar.controller.data_width
    if system.bus_bits < width:
        raise ConfigError(
            f"bus_bits is {system.bus_bits}, below the {width} of LiteDRAM's ports, whose converter"
            f" to wider ones deadlocks: choose {width}, or SDRAM that is not as wide"
        )
    if source is None:
        source = Path("build", "dtqatten", f"{TOP}.v")
        write_text(source, verilog(System(system), "system"))
    machine = Machine(soc.platform, system, Path(source).resolve())
    soc.add_module(NAME, machine)
    port = soc.sdram.crossbar.get_port(data_width=system.bus_bits)
    soc.add_module(
        f"{NAME}_memory",
        LiteDRAMAXI2Native(axi=machine.bus, port=port, base_address=memory.origin),
    )
    if origin is None and soc.cpu_type is None:
        origin = ORIGIN
    region = SoCRegion(origin=origin, size=APERTURE, mode="rw", cached=False)
    soc.bus.add_slave(name=NAME, slave=machine.registers, region=region)
    if soc.irq.enabled:
        soc.irq.add(NAME, use_loc_if_exists=True)
    return machine


def _check_source(source: Path, system: SystemConfig) -> None:
    """Refuse Verilog that is missing, or was not generated for a machine."""
    try:
        with source.open() as file:
            lines = [file.readline().strip() for _ in range(2)]
    except OSError as error:
        raise UsageError(f"{source} is not readable: {error.strerror}") from error
    if TOP not in lines[0] or lines[1] != f"// {system}":
        raise UsageError(
            f"{source} is not that machine: its second line is {lines[1]!r}; write it anew with "
            "dtqatten verilog --block system, or leave `source` out"
        )
