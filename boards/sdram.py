"""LiteDRAM's controller of a board's SDRAM, as Verilog with an AXI4 port and a port of words."""

from typing import Any

from litedram import modules
from litedram.common import PhySettings, get_default_cl
from litedram.core import LiteDRAMCore
from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.init import get_sdr_phy_init_sequence
from litedram.phy.dfi import Interface
from litedram.phy.model import SDRAMPHYModel
from litex.gen.fhdl.verilog import convert
from migen import Case, ClockDomain, ClockSignal, If, Module, ResetSignal, Signal

from dtqatten.boards.gateware.machine import BoardConfig
from dtqatten.boards.gateware.sdram_memory import CONTROLLER, START_SECONDS
from dtqatten.hw.bus.axi import ID_BITS
from dtqatten.interface.host_link import MEMORY_BASE

__all__ = ["controller"]

#: Cycles between two commands of the start: more than any of the SDRAM's own times.
BETWEEN = 200


def settings_of(cl: int) -> PhySettings:
    """Return what the controller is told of the pads: those of LiteDRAM's ``GENSDRPHY``.

    A register before each output and behind each input.
    """
    return PhySettings(
        phytype="GENSDRPHY",
        memtype="SDR",
        databits=16,
        dfi_databits=16,
        nphases=1,
        rdphase=0,
        wrphase=0,
        cl=cl,
        read_latency=cl + 1,
        write_latency=0,
    )


class Pads(Module):
    """What ``GENSDRPHY`` has between controller and pads, but for the registers at the pads.

    Parameters
    ----------
    part : SDRModule
    settings : PhySettings
    """

    def __init__(self, part: Any, settings: PhySettings) -> None:
        geometry = part.geom_settings
        self.settings = settings
        self.dfi = dfi = Interface(geometry.addressbits, geometry.bankbits, 1, settings.databits)
        phase = dfi.p0
        outputs = {
            "a": phase.address,
            "ba": phase.bank,
            "cs_n": phase.cs_n,
            "ras_n": phase.ras_n,
            "cas_n": phase.cas_n,
            "we_n": phase.we_n,
            "cke": phase.cke,
            "dq_o": phase.wrdata,
            "dq_oe": phase.wrdata_en,
        }
        self.ports = {name: Signal(len(value), name=name) for name, value in outputs.items()}
        self.comb += [self.ports[name].eq(value) for name, value in outputs.items()]
        mask = Signal(settings.databits // 8, name="dm")
        data = Signal(settings.databits, name="dq_i")
        self.comb += [phase.rddata.eq(data)]
        for bit in range(len(mask)):
            self.comb += mask[bit].eq(phase.wrdata_en & phase.wrdata_mask[bit])
        self.ports |= {"dm": mask, "dq_i": data}
        coming = Signal(settings.read_latency)
        self.sync += [coming.eq((coming << 1) | phase.rddata_en)]
        self.sync += phase.rddata_valid.eq(coming[-1])


class Starter(Module):
    """Bring the SDRAM up by LiteDRAM's own sequence of commands, which else software gives.

    Parameters
    ----------
    dfii : DFIInjector
        Gives the commands.
    settings : PhySettings
    timing : TimingSettings
    cycles : int
        Before the first command.

    Attributes
    ----------
    done : Signal
        The controller has the SDRAM.
    """

    def __init__(self, dfii: Any, settings: PhySettings, timing: Any, cycles: int) -> None:
        self.done = Signal()
        phase = dfii.ext_dfi.p0
        (_, *commands), _ = get_sdr_phy_init_sequence(settings, timing)
        wait, number = Signal(max=cycles + 1, reset=cycles), Signal(max=len(commands) + 1)
        due = Signal()
        cases = {}
        for place, (_, address, bank, command, _) in enumerate(commands):
            words = command.replace("DFII_COMMAND_", "").split("|")
            cases[place] = [
                phase.address.eq(address),
                phase.bank.eq(bank),
                phase.cs_n.eq("CS" not in words),
                phase.we_n.eq("WE" not in words),
                phase.cas_n.eq("CAS" not in words),
                phase.ras_n.eq("RAS" not in words),
            ]
        self.comb += [
            self.done.eq(number == len(commands)),
            due.eq((wait == 0) & ~self.done),
            dfii.ext_dfi_sel.eq(~self.done),
            phase.cke.eq(1),
            phase.cs_n.eq(1),
            If(due, Case(number, cases)),
        ]
        self.sync += [
            If(wait != 0, wait.eq(wait - 1)),
            If(due, wait.eq(BETWEEN), number.eq(number + 1)),
        ]


class Controller(Module):
    """Controller, start, and both ports.

    Parameters
    ----------
    part : SDRModule
    config : BoardConfig
        Without pads it has LiteDRAM's model of the SDRAM.

    Attributes
    ----------
    ports : dict of Signal
        By name.
    """

    def __init__(self, part: Any, config: BoardConfig) -> None:
        self.ports: dict[str, Signal] = {}
        hz = config.clock_hz
        settings = settings_of(get_default_cl(memtype="SDR", tck=1 / hz))
        bus_bits, address_bits = config.system.bus_bits, config.system.address_bits
        if config.pads:
            pads: Any = Pads(part, settings)
            self.ports |= pads.ports
        else:
            pads = SDRAMPHYModel(part, settings, clk_freq=hz)
        self.submodules.pads = pads
        core = LiteDRAMCore(pads, part.geom_settings, part.timing_settings, hz)
        self.submodules.core = core
        cycles = int(START_SECONDS * hz)
        starter = Starter(core.dfii, settings, part.timing_settings, cycles)
        self.submodules.starter = starter
        axi = LiteDRAMAXIPort(data_width=bus_bits, address_width=address_bits, id_width=ID_BITS)
        self.submodules.bridge = LiteDRAMAXI2Native(
            axi, core.crossbar.get_port(data_width=bus_bits), base_address=MEMORY_BASE
        )
        words = core.crossbar.get_port(data_width=32)
        flat = {
            **{
                f"{channel}{name}": getattr(getattr(axi, channel), name)
                for channel, names in (
                    ("ar", "valid ready addr len size burst id"),
                    ("aw", "valid ready addr len size burst id"),
                    ("w", "valid ready data strb last"),
                    ("b", "valid ready id resp"),
                    ("r", "valid ready id data resp last"),
                )
                for name in names.split()
            },
            **{
                f"{channel}_{name}": getattr(getattr(words, channel), name)
                for channel, names in (
                    ("cmd", "valid ready we addr"),
                    ("wdata", "valid ready we data"),
                    ("rdata", "valid ready data"),
                )
                for name in names.split()
            },
            "done": starter.done,
        }
        self.ports |= flat


def controller(config: BoardConfig) -> str:
    """Return the Verilog of the controller of a board's SDRAM."""
    assert config.sdram is not None
    part = getattr(modules, config.sdram.name)(config.clock_hz, "1:1")
    made = Controller(part, config)
    for name, signal in made.ports.items():
        signal.name_override = name
    clk, rst = Signal(name="clk"), Signal(name="rst")
    made.clock_domains.sys = ClockDomain("sys")
    made.comb += [ClockSignal().eq(clk), ResetSignal().eq(rst)]
    text = convert(made, {clk, rst, *made.ports.values()}, name=CONTROLLER).main_source
    # Without what says when and where it was made.
    end = "endmodule\n"
    return text[text.index("module") : text.rindex(end) + len(end)]
