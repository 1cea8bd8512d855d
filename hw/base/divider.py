"""Exact integer division: a restoring divider, unrolled."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import delayed

__all__ = ["Divider"]


class Divider(wiring.Component):
    """``quotient = dividend // divisor``, of unsigned integers; the divisor is not 0.

    Latency ``width / bits`` cycles, throughput one division a cycle; never stalls.

    Parameters
    ----------
    width : int
        Bits of dividend and quotient.
    divisor_width : int
        Bits of the divisor.
    bits : int
        Quotient bits a stage; divides ``width``.

    Members
    -------
    dividend : In(width)
    divisor : In(divisor_width)
    quotient : Out(width)
    """

    def __init__(self, width: int, divisor_width: int, *, bits: int = 2) -> None:
        self.width, self.divisor_width, self.bits = width, divisor_width, bits
        super().__init__(
            {"dividend": In(width), "divisor": In(divisor_width), "quotient": Out(width)}
        )

    @property
    def latency(self) -> int:
        """Cycles from a dividend to its quotient."""
        return self.width // self.bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rest, dividend, divisor = Signal(self.divisor_width), self.dividend, self.divisor
        # The dividend shifts out at the top while the quotient shifts in at the bottom.
        for stage in range(self.latency):
            for bit in range(self.bits):
                tried = Signal(self.divisor_width + 1, name=f"tried_{stage}_{bit}")
                fits = Signal(name=f"fits_{stage}_{bit}")
                left = Signal(self.divisor_width, name=f"left_{stage}_{bit}")
                m.d.comb += [
                    tried.eq(Cat(dividend[-1], rest)),
                    fits.eq(tried >= divisor),
                    left.eq(Mux(fits, tried - divisor, tried)),
                ]
                rest, dividend = left, Cat(fits, dividend[:-1])
            rest = delayed(m, rest, 1, f"rest_{stage}")
            dividend = delayed(m, dividend, 1, f"dividend_{stage}")
            divisor = delayed(m, divisor, 1, f"divisor_{stage}")
        m.d.comb += self.quotient.eq(dividend)
        return m
