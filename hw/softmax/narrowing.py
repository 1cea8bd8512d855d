"""Weights from exponentials: times the top code, rounded to a code or to its highest nibble."""

from amaranth.hdl import Mux, Value

__all__ = ["narrowing", "sevenfold"]


def sevenfold(value: Value) -> Value:
    """``7 * value``: what :func:`narrowing` starts from, as all digits of the top code are 7."""
    return (value << 3) - value


def narrowing(sevenfold: Value, narrow: Value, drop: int, planes: int) -> Value:
    """Times the top code; drop ``drop`` fraction bits, or all below the highest nibble, half up.

    The second rounding is of the rounded code, as in the golden model; its constant joins that
    of the first, so that it costs no adder.

    Parameters
    ----------
    sevenfold : Value
        What is narrowed, times 7, from :func:`sevenfold`.
    narrow : Value
        1 bit: only the highest nibble is kept.
    drop : int
        Fraction bits of the product, at least 1.
    planes : int
        Nibbles of a weight; the top code is a 7 in each.
    """
    product = sum(sevenfold << 4 * i for i in range(planes))
    half = 1 << drop - 1
    code_half = sum(8 << 4 * i for i in range(planes - 1))
    kept = Mux(narrow, (-1 << 4 * (planes - 1)) & ((1 << 4 * planes) - 1), (1 << 4 * planes) - 1)
    return ((product + Mux(narrow, half + (code_half << drop), half)) >> drop) & kept
