"""Weights from exponentials: times the top code, rounded to a code or to its highest nibble."""

from amaranth.hdl import Cat, Mux, Value

from dtqatten.configuration.core import Config

__all__ = ["narrowing", "times_digit"]


def times_digit(config: Config, value: Value) -> Value:
    """Value times a nibble of the top code, 7 or 15: what :func:`narrowing` starts from."""
    return (value << (4 if config.unsigned_weights else 3)) - value


def narrowing(config: Config, multiple: Value, narrow: Value, drop: int) -> Value:
    """Times the top code; drop ``drop`` fraction bits, or all below the highest nibble, half up.

    The second rounding is of the rounded code, as in the golden model; its constant joins that
    of the first, so that it costs no adder.

    Parameters
    ----------
    config : Config
    multiple : Value
        What is narrowed, from :func:`times_digit`.
    narrow : Value
        1 bit: only the highest nibble is kept.
    drop : int
        Fraction bits of the product, at least 1.
    """
    planes, low = config.planes, 4 * (config.planes - 1)
    product = sum(multiple << 4 * i for i in range(planes))
    half = 1 << drop - 1
    # Of balanced nibbles 8 in each; unsigned ones have it in the highest of those that go.
    code_half = 8 << low - 4 if config.unsigned_weights else sum(8 << i for i in range(0, low, 4))
    rounded = (product + Mux(narrow, half + (code_half << drop), half)) >> drop
    highest = rounded[low : low + 4]
    if config.unsigned_weights:
        # Rounding up can pass the largest nibble.
        highest |= rounded[low + 4].replicate(4)
    return Cat(Mux(narrow, 0, rounded[:low]), highest)
