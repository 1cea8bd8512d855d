"""The boards: their parts, and the machine that each carries."""

import enum
from dataclasses import dataclass, field, replace

from dtqatten.boards.gateware.machine import BoardConfig
from dtqatten.boards.gateware.sdram_memory import SdramPart
from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.fields import ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.interface.host_link import SILENCE

__all__ = [
    "BOARDS",
    "SIMULATED_DIVISOR",
    "SIMULATED_SILENCE",
    "Board",
    "Family",
    "Memory",
    "board_of",
]

#: On a simulated board bits are short, so that the line takes little of the time...
SIMULATED_DIVISOR = 4
#: ...and so is what ends half a packet, in cycles.
SIMULATED_SILENCE = 1 << 13

#: How far the baud rate may be off, of 1: half a bit over a frame of ten is five hundredths.
BAUD_ERROR = 0.02

#: The smallest preset with the registers that an FPGA needs at this rate.
SMALL = PRESETS["tiny"].replace(product_stages=2, topk_lanes=4)

#: Half of its rows and columns, and buffers of half the bursts of half the length: fewer LUTs.
SMALLER = SystemConfig(
    core=SMALL.replace(rows=2, cols=2, topk_lanes=1),
    bus_bits=64,
    address_bits=32,
    burst_beats=8,
    buffer_bursts=2,
)


class Memory(enum.StrEnum):
    """What the machine's memory is."""

    BLOCK = "block"
    SDRAM = "sdram"


class Family(enum.StrEnum):
    """FPGAs of one maker's series, which one toolchain serves."""

    ECP5 = "ecp5"
    GOWIN = "gowin"

    @property
    def suffix(self) -> str:
        """Of names of bitstreams."""
        return {Family.ECP5: ".bit", Family.GOWIN: ".fs"}[self]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, and the machine on it.

    Parameters
    ----------
    name : str
    sold_as : str
    fpga : str
        With its speed grade.
    family : Family
    platform : tuple of str
        Class of its pins, as ``amaranth_boards`` has them: module and name.
    nextpnr : tuple of str
        What the placer is told of the device.
    cells : dict of int
        LUTs, flip-flops, block RAMs and multipliers of the device that the toolchain uses.
    oscillator_hz, clock_hz : int
        What is on the board, and what the PLL makes of it; without a PLL both are the same.
    system : SystemConfig
    memory_bytes : int
        Block RAM that is the machine's memory, or with ``memory`` SDRAM that.
    baud : int
    programmer : str
        What openFPGALoader calls the board.
    part : SdramPart, optional
        The SDRAM that is on the board.
    memory : Memory
        What the machine's memory is.
    """

    name: str
    sold_as: str
    fpga: str
    family: Family = Family.ECP5
    platform: tuple[str, str]
    nextpnr: tuple[str, ...]
    cells: dict[str, int]
    oscillator_hz: int
    clock_hz: int
    memory_bytes: int
    programmer: str
    system: SystemConfig = field(
        default_factory=lambda: SystemConfig(core=SMALL, bus_bits=64, address_bits=32)
    )
    baud: int = 1_000_000
    part: SdramPart | None = None
    memory: Memory = Memory.BLOCK

    def using(self, memory: Memory) -> "Board":
        """Return the board with another memory; by SDRAM its name has a suffix.

        Raises
        ------
        UsageError
            If it has no SDRAM that the machine can have.
        """
        if memory is self.memory:
            return self
        if self.part is None:
            raise UsageError(f"{self.name} has no SDRAM for the machine: choose --memory block")
        name = f"{self.name}-{memory}"
        return replace(self, name=name, memory=memory, memory_bytes=self.part.size)

    @property
    def bitstream(self) -> str:
        """Name of its bitstream."""
        return f"{self.name}{self.family.suffix}"

    def config(self) -> BoardConfig:
        """Return what the bitstream is made of.

        Raises
        ------
        ConfigError
            If the clock cannot give the baud rate closely enough.
        """
        divisor = round(self.clock_hz / self.baud)
        if not divisor or abs(self.clock_hz / divisor / self.baud - 1) > BAUD_ERROR:
            raise ConfigError(
                f"baud is {self.baud}, which {self.clock_hz} Hz over a whole number does not give "
                f"within {BAUD_ERROR:.0%}: choose another"
            )
        return self._config(divisor, int(SILENCE * self.clock_hz), pads=True)

    def simulated(self) -> BoardConfig:
        """Return the same with the short bits of a simulation."""
        return self._config(SIMULATED_DIVISOR, SIMULATED_SILENCE, pads=False)

    def _config(self, divisor: int, silence: int, *, pads: bool) -> BoardConfig:
        sdram = self.part if self.memory is Memory.SDRAM else None
        return BoardConfig(
            system=self.system,
            memory_bytes=self.memory_bytes,
            clock_hz=self.clock_hz,
            divisor=divisor,
            silence=silence,
            sdram=sdram,
            pads=pads and sdram is not None,
        )


#: By name.
BOARDS = {
    board.name: board
    for board in (
        Board(
            name="ulx3s-85f",
            sold_as="Radiona ULX3S with 85F",
            fpga="LFE5U-85F-6",
            platform=("amaranth_boards.ulx3s", "ULX3S_85F_Platform"),
            nextpnr=("--85k", "--speed", "6", "--package", "CABGA381"),
            cells={"lut": 83_640, "ff": 83_640, "bram": 208, "dsp": 156},
            oscillator_hz=25_000_000,
            clock_hz=50_000_000,
            memory_bytes=1 << 17,
            programmer="ulx3s",
            part=SdramPart(name="MT48LC16M16", row_bits=13, column_bits=9),
        ),
        Board(
            name="ecpix5-85f",
            sold_as="LambdaConcept ECPIX-5 with 85F",
            fpga="LFE5UM5G-85F-8",
            platform=("amaranth_boards.ecpix5", "ECPIX585Platform"),
            nextpnr=("--um5g-85k", "--speed", "8", "--package", "CABGA554"),
            cells={"lut": 83_640, "ff": 83_640, "bram": 208, "dsp": 156},
            oscillator_hz=100_000_000,
            clock_hz=50_000_000,
            memory_bytes=1 << 16,
            programmer="ecpix5",
            system=SMALLER,
        ),
        Board(
            name="tang-mega-138k",
            sold_as="Sipeed Tang Mega 138K Pro Dock",
            fpga="GW5AST-LV138FPG676AC1/I0",
            family=Family.GOWIN,
            platform=("dtqatten.boards.tang_mega", "TangMega138kPlatform"),
            nextpnr=("--device", "GW5AST-LV138FPG676AC1/I0", "--vopt", "family=GW5AST-138C"),
            # The toolchain makes products of LUTs: Yosys does not map to this series' multipliers.
            cells={"lut": 138_240, "ff": 138_240, "bram": 340, "dsp": 0},
            oscillator_hz=50_000_000,
            clock_hz=50_000_000,
            memory_bytes=1 << 16,
            programmer="tangmega138k",
            system=SMALLER,
        ),
    )
}


def board_of(name: str, memory: Memory = Memory.BLOCK) -> Board:
    """Return a board with a memory.

    Raises
    ------
    UsageError
        If there is none of that name, or it has no such memory.
    """
    if name not in BOARDS:
        raise UsageError(f"no board {name!r}: choose one of {', '.join(BOARDS)}")
    return BOARDS[name].using(memory)
