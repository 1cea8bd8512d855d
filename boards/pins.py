"""The top of a bitstream: oscillator, PLL, reset and pins around the machine's Verilog."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from amaranth.build import ResourceError
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from dtqatten.boards.catalog import Board, Memory
from dtqatten.configuration.fields import ConfigError
from dtqatten.hw.base.export import PREFIX

__all__ = ["Pins", "Pll", "platform_of", "pll_for"]

#: Limits of the ECP5's PLL: rate of its oscillator and of what is compared, and its dividers.
VCO_HZ, COMPARED_HZ, DIVIDERS = (400e6, 800e6), (3.125e6, 400e6), range(1, 129)

#: Cycles of reset without a PLL, as a power of two.
START_BITS = 8


@dataclass(frozen=True)
class Pll:
    """Dividers of an EHXPLLL whose feedback is its own output.

    ``output = input / reference * feedback``, and its oscillator runs ``output`` times faster.

    Parameters
    ----------
    reference, feedback, output : int
    """

    reference: int
    feedback: int
    output: int


def pll_for(input_hz: int, output_hz: int) -> Pll:
    """Return dividers that make a clock exactly.

    Raises
    ------
    ConfigError
        If there are none.
    """
    for reference in DIVIDERS:
        compared = input_hz / reference
        feedback = output_hz * reference / input_hz
        if not COMPARED_HZ[0] <= compared <= COMPARED_HZ[1] or feedback not in DIVIDERS:
            continue
        # In the middle of its range, the oscillator is far from both ends.
        middle = sum(VCO_HZ) / 2
        output = min(DIVIDERS, key=lambda n: abs(n * output_hz - middle))
        if VCO_HZ[0] <= output * output_hz <= VCO_HZ[1]:
            return Pll(reference, int(feedback), output)
    raise ConfigError(
        f"clock_hz is {output_hz}, which the PLL does not make of {input_hz} Hz: choose a multiple "
        f"of {input_hz // 5 // 10**6} MHz"
    )


def platform_of(board: Board) -> Any:
    """Return the board's platform of ``amaranth_boards``."""
    module, name = board.platform
    return getattr(importlib.import_module(module), name)()


class Pins(Elaboratable):
    """The machine of :class:`~dtqatten.boards.gateware.machine.BoardMachine` on a board's pins.

    The machine is instantiated by name, ``dtqatten_board``: its Verilog is what simulations run.
    It is reset while the PLL is not locked, or, where the oscillator is its clock, for some cycles.
    Lights are the platform's first five ``led``, or else ``rgb_led``, as far as it has them.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, board: Board) -> None:
        self.board = board

    def elaborate(self, platform: Any) -> Module:
        """Build it on a platform."""
        m = Module()
        board = self.board
        oscillator = platform.request(platform.default_clk, dir="-")
        m.submodules.oscillator = clock = io.Buffer("i", oscillator)
        m.domains.sync = ClockDomain()
        if board.clock_hz == board.oscillator_hz:
            m.d.comb += ClockSignal().eq(clock.i)
            ready = self._started(m)
        else:
            ready = self._pll(m, clock.i)
        m.submodules.reset = ResetSynchronizer(~ready, domain="sync")

        lines = [line.name for line in platform.lookup("uart").ios]
        uart = platform.request("uart", 0, dir=dict.fromkeys(lines, "-"))
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        shown = Signal(5)
        m.submodules.machine = Instance(
            f"{PREFIX}board",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_rx=rx.i,
            o_tx=tx.o,
            o_leds=shown,
            **(self._sdram(m, platform) if board.memory is Memory.SDRAM else {}),
        )
        for number, pin in zip(range(len(shown)), lights(platform), strict=False):
            led = io.Buffer("o", pin)
            m.submodules[f"led_{number}"] = led
            m.d.comb += led.o.eq(shown[number])
        return m

    @staticmethod
    def _started(m: Module) -> Value:
        """Return whether some cycles have passed since the FPGA was configured."""
        m.domains.started = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal("started").eq(ClockSignal())
        cycles = Signal(START_BITS)
        started = Signal()
        with m.If(~started):
            m.d.started += [cycles.eq(cycles + 1), started.eq(cycles.all())]
        return started

    @staticmethod
    def _sdram(m: Module, platform: Any) -> dict[str, Value]:
        """Put registers at an SDRAM's pads, as ``GENSDRPHY`` has them; return the board's ports.

        Its clock is a quarter of a cycle late, so that what it is told holds while it looks.
        """
        names = [line.name for line in platform.lookup("sdram").ios]
        pads = platform.request("sdram", 0, dir=dict.fromkeys(names, "-"))
        m.submodules.sdram_clk = clk = io.DDRBuffer("o", pads.clk, o_domain="late")
        m.d.comb += [clk.o[0].eq(1), clk.o[1].eq(0)]
        ports: dict[str, Value] = {}
        for name, port, active in (
            ("a", "a", 1),
            ("ba", "ba", 1),
            # The platform inverts them.
            ("cs_n", "cs", 0),
            ("ras_n", "ras", 0),
            ("cas_n", "cas", 0),
            ("we_n", "we", 0),
            ("cke", "clk_en", 1),
            ("dm", "dqm", 1),
        ):
            buffer = io.FFBuffer("o", getattr(pads, port))
            m.submodules[f"sdram_{name}"] = buffer
            value = Signal(len(buffer.o), name=f"sdram_{name}_value")
            m.d.comb += buffer.o.eq(value if active else ~value)
            ports[f"o_{name}"] = value
        m.submodules.sdram_dq = dq = io.FFBuffer("io", pads.dq)
        return ports | {"o_dq_o": dq.o, "o_dq_oe": dq.oe, "i_dq_i": dq.i}

    def _pll(self, m: Module, oscillator: Value) -> Value:
        """Make the clock of the oscillator's; return whether it is right.

        Where there is an SDRAM, domain ``late`` is a quarter of a cycle late.
        """
        board = self.board
        pll = pll_for(board.oscillator_hz, board.clock_hz)
        locked = Signal()
        late: dict[str, Any] = {}
        if board.memory is Memory.SDRAM:
            m.domains.late = ClockDomain(reset_less=True)
            late = {
                "a_FREQUENCY_PIN_CLKOS": str(board.clock_hz / 1e6),
                "p_CLKOS_ENABLE": "ENABLED",
                "p_CLKOS_DIV": pll.output,
                "p_CLKOS_CPHASE": pll.output // 2 + pll.output // 4,
                "p_CLKOS_FPHASE": pll.output % 4 * 2,
                "o_CLKOS": ClockSignal("late"),
            }
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(board.oscillator_hz / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(board.clock_hz / 1e6),
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=pll.reference,
            p_CLKFB_DIV=pll.feedback,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.output,
            p_CLKOP_CPHASE=pll.output // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=oscillator,
            i_CLKFB=ClockSignal(),
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=ClockSignal(),
            o_LOCK=locked,
            **late,
        )
        return locked


def lights(platform: Any) -> Iterator[Any]:
    """Yield the pins of a platform's lights, of coloured ones the green part."""
    for number in count():
        try:
            yield platform.request("led", number, dir="-")
        except ResourceError:
            try:
                colours = dict.fromkeys("rgb", "-")
                yield platform.request("rgb_led", number, dir=colours).g
            except ResourceError:
                return
