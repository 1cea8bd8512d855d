"""Bytes on a serial line: 8 data bits, no parity, one stop bit; the lowest bit comes first."""

from amaranth.hdl import C, Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.fields import ConfigError

__all__ = ["LEAST_DIVISOR", "Receiver", "Transmitter", "received_layout"]

#: Cycles of a bit at least: the middle of a bit must be found.
LEAST_DIVISOR = 4

#: A frame: start bit, data, stop bit.
FRAME_BITS = 10


def received_layout() -> data.StructLayout:
    """What came: a byte, or (``broken``) a frame without stop bit, such as a break."""
    return data.StructLayout({"byte": unsigned(8), "broken": unsigned(1)})


def _check(divisor: int) -> None:
    if divisor < LEAST_DIVISOR:
        raise ConfigError(
            f"divisor is {divisor}, below {LEAST_DIVISOR}: choose a lower baud rate, or a faster "
            "clock"
        )


class Receiver(wiring.Component):
    """Take bytes from a line.

    A frame begins at a falling edge and is sampled in the middle of its bits; a start bit that is
    over by its middle is none. After a frame without stop bit the line must be high before the next
    one begins, so that a break of any length is one ``broken``. A byte is shown for one cycle, half
    a bit before the end of its stop bit and 3 cycles later, 2 of them the synchronizer's.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, at least :data:`LEAST_DIVISOR`.

    Members
    -------
    rx : In(1)
        The line, asynchronous; high at rest.
    valid : Out(1)
        Something has come in this cycle.
    o : Out(received_layout())

    Raises
    ------
    ConfigError
        If the divisor is too small.
    """

    def __init__(self, divisor: int) -> None:
        _check(divisor)
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "valid": Out(1), "o": Out(received_layout())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        timer = Signal(range(self.divisor))
        due = Signal()
        m.d.comb += due.eq(timer == 0)
        left = Signal(range(9))
        m.d.sync += [timer.eq(timer - 1), self.valid.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += timer.eq(self.divisor // 2 - 1)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(due):
                m.d.sync += [timer.eq(self.divisor - 1), left.eq(8)]
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BITS"
            with m.State("BITS"), m.If(due):
                m.d.sync += timer.eq(self.divisor - 1)
                with m.If(left == 0):
                    m.d.sync += [self.valid.eq(1), self.o.broken.eq(~line)]
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "BROKEN"
                with m.Else():
                    m.d.sync += [
                        self.o.byte.eq(Cat(self.o.byte[1:], line)),
                        left.eq(left - 1),
                    ]
            with m.State("BROKEN"), m.If(line):
                m.next = "IDLE"
        return m


class Transmitter(wiring.Component):
    """Put bytes on a line, without a pause between those that are there.

    A byte takes ``10 * divisor`` cycles. It is accepted while the line rests, or in the last cycle
    of the byte before.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, at least :data:`LEAST_DIVISOR`.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)
        The line; high at rest.

    Raises
    ------
    ConfigError
        If the divisor is too small.
    """

    def __init__(self, divisor: int) -> None:
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        left = Signal(range(FRAME_BITS + 1))
        bits = Signal(FRAME_BITS, init=(1 << FRAME_BITS) - 1)
        m.d.comb += [
            self.i.ready.eq((left == 0) | ((left == 1) & (timer == 0))),
            self.tx.eq(bits[0]),
        ]
        m.d.sync += timer.eq(timer - 1)
        with m.If((timer == 0) & (left != 0)):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                left.eq(left - 1),
                bits.eq(Cat(bits[1:], C(1))),
            ]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                left.eq(FRAME_BITS),
                bits.eq(Cat(C(0), self.i.p, C(1))),
            ]
        return m
