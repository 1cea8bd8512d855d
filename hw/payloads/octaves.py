"""Scores as rows compare them, and what is added to them."""

from amaranth.hdl import signed
from amaranth.lib import data

from dtqatten.configuration.core import Config

__all__ = ["BIAS_BITS", "OCTAVE_SHIFT", "bias_layout", "compared_bits", "unseen"]

#: Bits of a key's bias, in 1/256 octaves; of a score there; from there to exponents.
BIAS_BITS = 16
OCTAVE_BITS = 18
OCTAVE_SHIFT = 3


def compared_bits(config: Config) -> int:
    """Bits of a score, signed, as those of a row are compared: with biases in 1/256 octaves."""
    return OCTAVE_BITS if config.bias_heads else config.score_width


def unseen(config: Config) -> int:
    """Score that stands for a masked key: the most negative one, which no other reaches."""
    return -(1 << compared_bits(config) - 1)


def bias_layout() -> data.StructLayout:
    """Bias of a key for a query head, the ``last`` of its keys, the last of all of the ``head``."""
    return data.StructLayout({"bias": signed(BIAS_BITS), "last": 1, "head": 1})
