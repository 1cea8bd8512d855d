"""Weights from exponentials: times the top code, rounded to a code or to its highest nibble."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from dtqatten.configuration.core import Config
from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.hw.payloads.sums import EXPONENT_BITS

__all__ = ["narrowing", "tile_exponent", "times_digit"]


def tile_exponent(m: Module, values: Sequence[Value]) -> Signal:
    """Leading zeros of the largest of a tile's values, at most 3; a cycle later.

    The largest value itself is not needed: an OR of all values has its leading zeros.

    Parameters
    ----------
    m : Module
    values : sequence of Value
        What is narrowed, before :func:`times_digit`.
    """
    any_of = Signal(EXPONENT_MAX)
    exponent = Signal(EXPONENT_BITS, reset_less=True)
    m.d.comb += any_of.eq(reduce(or_, (value[-EXPONENT_MAX:] for value in values)))
    m.d.sync += exponent.eq(EXPONENT_MAX)
    for zeros in reversed(range(EXPONENT_MAX)):
        with m.If(any_of[EXPONENT_MAX - 1 - zeros]):
            m.d.sync += exponent.eq(zeros)
    return exponent


def times_digit(config: Config, value: Value) -> Value:
    """Value times a nibble of the top code, 7 or 15: what :func:`narrowing` starts from."""
    return (value << (4 if config.unsigned_weights else 3)) - value


def narrowing(
    config: Config, multiple: Value, narrow: Value, drop: int, exponent: Value | None = None
) -> Value:
    """Times the top code; drop ``drop`` fraction bits, or all below the highest nibble, half up.

    The second rounding is of the rounded code, as in the golden model; its constant joins that
    of the first, so that it costs no adder. An exponent drops so many bits less: the constants
    move down, and of the sum other bits are taken, which is less than to shift what is narrowed.

    Parameters
    ----------
    config : Config
    multiple : Value
        What is narrowed, from :func:`times_digit`.
    narrow : Value
        1 bit: only the highest nibble is kept.
    drop : int
        Fraction bits of the product, more than 3.
    exponent : Value, optional
        Of the tile, where tiles have one.
    """
    planes, low = config.planes, 4 * (config.planes - 1)
    product = sum(multiple << 4 * i for i in range(planes))
    half = 1 << drop - 1
    # Of balanced nibbles 8 in each; unsigned ones have it in the highest of those that go.
    code_half = 8 << low - 4 if config.unsigned_weights else sum(8 << i for i in range(0, low, 4))
    halves = Mux(narrow, half + (code_half << drop), half)
    if exponent is None:
        rounded = (product + halves) >> drop
    else:
        # The largest exponent less this one is its complement.
        rounded = ((product + (halves >> exponent)) >> drop - EXPONENT_MAX) >> ~exponent
    highest = rounded[low : low + 4]
    if config.unsigned_weights:
        # Rounding up can pass the largest nibble.
        highest |= rounded[low + 4].replicate(4)
    return Cat(Mux(narrow, 0, rounded[:low]), highest)
