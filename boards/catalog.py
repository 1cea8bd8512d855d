"""The boards: their parts, and the machine that each carries."""

from dataclasses import dataclass, field

from dtqatten.boards.gateware.machine import BoardConfig
from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.fields import ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.interface.host_link import SILENCE

__all__ = ["BOARDS", "SIMULATED_DIVISOR", "SIMULATED_SILENCE", "Board", "board_of"]

#: On a simulated board bits are short, so that the line takes little of the time...
SIMULATED_DIVISOR = 4
#: ...and so is what ends half a packet, in cycles.
SIMULATED_SILENCE = 1 << 13

#: How far the baud rate may be off, of 1: half a bit over a frame of ten is five hundredths.
BAUD_ERROR = 0.02

#: The smallest preset with the registers that an FPGA needs at this rate.
SMALL = PRESETS["tiny"].replace(product_stages=2, topk_lanes=4)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, and the machine on it.

    Parameters
    ----------
    name : str
    sold_as : str
    fpga : str
        With its speed grade.
    platform : str
        Class of ``amaranth_boards``: module and name.
    nextpnr : tuple of str
        What the placer is told of the device.
    cells : dict of int
        LUTs, flip-flops, block RAMs and multipliers of the device.
    oscillator_hz, clock_hz : int
        What is on the board, and what the PLL makes of it.
    system : SystemConfig
    memory_bytes : int
        Block RAM that is the machine's memory.
    baud : int
    programmer : str
        What openFPGALoader calls the board.
    """

    name: str
    sold_as: str
    fpga: str
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
        return self._config(divisor, int(SILENCE * self.clock_hz))

    def simulated(self) -> BoardConfig:
        """Return the same with the short bits of a simulation."""
        return self._config(SIMULATED_DIVISOR, SIMULATED_SILENCE)

    def _config(self, divisor: int, silence: int) -> BoardConfig:
        return BoardConfig(
            system=self.system,
            memory_bytes=self.memory_bytes,
            clock_hz=self.clock_hz,
            divisor=divisor,
            silence=silence,
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
        ),
    )
}


def board_of(name: str) -> Board:
    """Return a board.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if name not in BOARDS:
        raise UsageError(f"no board {name!r}: choose one of {', '.join(BOARDS)}")
    return BOARDS[name]
