"""Reciprocals of integers: a restoring divider, unrolled."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import bit_length, delayed
from dtqatten.hw.payloads.softmax import RECIPROCAL_BITS, reciprocal_layout

__all__ = ["Reciprocal"]


class Reciprocal(wiring.Component):
    """Reciprocal of an unsigned integer as a 17-bit mantissa and an exponent.

    ``z = bit_length(D)``, ``R = floor((2**(z + 16) - 1) / D)``; 0 gives ``R = z = 0``. Bit-exact
    with :func:`dtqatten.golden.numerics.softmax.reciprocal`. The dividend is all ones, so a step of
    the remainder is ``x = 2*x + 1``, less ``D`` if that leaves no negative number: neither the
    divisor nor the remainder is ever aligned by a shifter, and one subtraction compares as well.

    Latency ``2 + 16 / bits`` cycles, throughput one divisor a cycle; never stalls.

    Parameters
    ----------
    width : int
        Bits of a divisor, 1 to 48.
    bits : int
        Quotient bits a stage: 1, 2, 4, 8 or 16. More make fewer registers and a longer path.

    Members
    -------
    divisor : In(width)
        The divisor.
    o : Out(reciprocal_layout(width))
        Its reciprocal.

    Raises
    ------
    ValueError
        If a parameter is impossible.
    """

    #: With a quotient bit a stage.
    LATENCY = 2 + RECIPROCAL_BITS - 1

    def __init__(self, width: int, *, bits: int = 1) -> None:
        if not isinstance(width, int) or not 1 <= width <= 48:
            raise ValueError(f"width is {width!r}, outside 1..48: choose a value in that range")
        if bits not in (1, 2, 4, 8, 16):
            raise ValueError(f"bits is {bits!r}: choose one of 1, 2, 4, 8, 16")
        self.width, self.bits = width, bits
        super().__init__({"divisor": In(width), "o": Out(reciprocal_layout(width))})

    @property
    def latency(self) -> int:
        """Cycles from a divisor to its reciprocal."""
        return 2 + (RECIPROCAL_BITS - 1) // self.bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, stages = self.width, self.latency - 2
        length = bit_length(self.divisor)
        exponent = delayed(m, length, self.latency, "exponent")
        m.d.comb += self.o.exponent.eq(exponent)

        # The first quotient bit is 1: the dividend's top bits are 2**z - 1, not less than D. All
        # bits that follow are 1, too.
        divisor = delayed(m, self.divisor, 1, "divisor")
        z = delayed(m, length, 1, "length")
        x = Signal(unsigned(width), name="x_0", reset_less=True)
        quotient = Signal(1, name="quotient_0", reset_less=True)
        m.d.sync += [x.eq(((1 << z) - 1) & ~divisor), quotient.eq(z != 0)]
        divisor = delayed(m, divisor, 1, "divisor_0")
        for stage in range(stages):
            for bit in range(self.bits):
                part = Cat(Const(1, 1), x)
                less = Signal(signed(width + 2), name=f"less_{stage}_{bit}")
                one = Signal(name=f"bit_{stage}_{bit}")
                rest = Signal(width, name=f"rest_{stage}_{bit}")
                m.d.comb += [
                    less.eq(part - divisor),
                    one.eq((less >= 0) & quotient[-1]),
                    rest.eq(Mux(one, less, part)),
                ]
                x, quotient = rest, Cat(one, quotient)
            at = stage + 1
            x = delayed(m, x, 1, f"x_{at}")
            quotient = delayed(m, quotient, 1, f"quotient_{at}")
            divisor = delayed(m, divisor, 1, f"divisor_{at}")
        m.d.comb += self.o.mantissa.eq(quotient)
        return m
